package embedetcd

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Option changes how a server starts.
type Option func(*options)

type options struct {
	clientAddress string
	insecure      bool
	logger        *slog.Logger
	history       time.Duration
	quota         int64
}

func defaults() options {
	return options{
		clientAddress: "127.0.0.1:0",
		logger:        slog.New(slog.DiscardHandler),
		history:       time.Minute,
		quota:         8 << 30,
	}
}

// WithClientAddress makes the server listen on addr, a host and a port,
// instead of a free port of the loopback interface. Other hosts reach it only
// if WithInsecureListen agrees to that.
func WithClientAddress(addr string) Option {
	return func(o *options) { o.clientAddress = addr }
}

// WithInsecureListen agrees to a client address beyond the loopback
// interface. The server asks for no credentials and encrypts nothing, so the
// network must keep strangers away.
func WithInsecureListen() Option {
	return func(o *options) { o.insecure = true }
}

// WithLogger sends etcd's warnings and errors to l. They are discarded
// otherwise; a start that fails returns its error in any case.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) { o.logger = l }
}

// WithHistory sets for how long at least old revisions are kept, which is how
// far back a watch can resume: one minute unless set, and at most twice as
// long. The folder grows with it.
func WithHistory(d time.Duration) Option {
	return func(o *options) { o.history = d }
}

// WithQuota sets how many bytes the data may take, 8 GiB unless set. At the
// quota the server refuses writes until an operator clears its alarm.
func WithQuota(bytes int64) Option {
	return func(o *options) { o.quota = bytes }
}

// check refuses what cannot work, or is not agreed to.
func (o *options) check() error {
	if o.logger == nil {
		o.logger = slog.New(slog.DiscardHandler)
	}
	if o.history <= 0 {
		return fmt.Errorf("embedetcd: a history of %v: it must be above zero, or it would grow forever", o.history)
	}
	if o.quota <= 0 {
		return fmt.Errorf("embedetcd: a quota of %d bytes: it must be above zero", o.quota)
	}
	host, _, err := net.SplitHostPort(o.clientAddress)
	if err != nil {
		return fmt.Errorf("embedetcd: the client address must be host:port: %w", err)
	}
	// etcd takes addresses only, no names but this one.
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) && !o.insecure {
		return fmt.Errorf("embedetcd: everyone who reaches %s could read and write everything: "+
			"choose a loopback address, or agree with WithInsecureListen", o.clientAddress)
	}
	return nil
}
