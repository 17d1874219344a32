package pgstate

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// mode is what a proxy does with the next bytes of one connection.
type mode int32

const (
	forward mode = iota
	// dropAnswer cuts the connection when the server answers.
	dropAnswer
	// dropRequest cuts the connection when the client asks.
	dropRequest
	// stall forwards a request except for its end, and then nothing more.
	stall
)

// proxy stands between a store and the server. What is set in next happens to
// one connection, which is told on struck.
type proxy struct {
	t        *testing.T
	listener net.Listener
	upstream func(ctx context.Context) (net.Conn, error)
	next     atomic.Int32
	struck   chan struct{}
	conns    sync.WaitGroup
	ctx      context.Context
	// cut ends all connections.
	cut context.CancelFunc
}

// newProxy starts a proxy, and returns it with what makes a pool use it.
func newProxy(t *testing.T) (*proxy, func(*pgxpool.Config)) {
	t.Helper()
	needServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, "proxy").ConnConfig
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{t: t, listener: l, struck: make(chan struct{}, 1), ctx: ctx, cut: cancel}
	p.upstream = func(ctx context.Context) (net.Conn, error) {
		network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	p.conns.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		l.Close()
		p.conns.Wait()
	})
	return p, func(c *pgxpool.Config) {
		c.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}
		// A ping before the commit would be struck in its place.
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		upstream, err := p.upstream(p.ctx)
		if err != nil {
			client.Close()
			if p.ctx.Err() == nil {
				p.t.Error(err)
			}
			continue
		}
		stop := context.AfterFunc(p.ctx, func() { client.Close(); upstream.Close() })
		p.conns.Go(func() {
			defer stop()
			defer client.Close()
			p.pipe(client, upstream, dropAnswer)
		})
		p.conns.Go(func() {
			defer upstream.Close()
			p.pipe(upstream, client, dropRequest, stall)
		})
	}
}

// pipe copies until the end, or until the proxy is set to one of modes.
func (p *proxy) pipe(to, from net.Conn, modes ...mode) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		for _, m := range modes {
			if n == 0 || !p.next.CompareAndSwap(int32(m), int32(forward)) {
				continue
			}
			if m == stall {
				// The last message but one is Execute; half of it stays here.
				_, _ = to.Write(buffer[:n-8])
				p.struck <- struct{}{}
				_, _ = io.Copy(io.Discard, from)
				return
			}
			p.struck <- struct{}{}
			return
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// TestConnectionCut: the client cannot tell whether the commit or its answer was
// lost, says so, and sends nothing twice.
func TestConnectionCut(t *testing.T) {
	for name, c := range map[string]struct {
		mode    mode
		version uint64
		record  string
	}{
		"the answer is lost":  {dropAnswer, 2, "second"},
		"the request is lost": {dropRequest, 1, "first"},
	} {
		t.Run(name, func(t *testing.T) {
			p, through := newProxy(t)
			s := open(t, newSchema(t), through)
			mustSeal(t, s, older)
			mustCommit(t, s, aCommit(older, 0, "first"))
			p.next.Store(int32(c.mode))
			err := s.Commit(deadline(t), []state.Commit{aCommit(older, 1, "second")})
			<-p.struck
			wantUnknown(t, err)
			if err != nil && !strings.Contains(err.Error(), "may or may not") {
				t.Errorf("Commit = %v", err)
			}
			// The store goes on with another connection.
			wantRecord(t, s, older, c.version, c.record)
			mustCommit(t, s, aCommit(older, c.version, "settled"))

			p.next.Store(int32(c.mode))
			err = seal(s, deadline(t), newer)
			<-p.struck
			wantUnknown(t, err)
			mustSeal(t, s, newer)
		})
	}
}

// TestFrozenClient: a client that stops in the middle of sending a commit holds
// no lock, however long it is frozen.
func TestFrozenClient(t *testing.T) {
	p, through := newProxy(t)
	schema := newSchema(t)
	frozen, s, watch := open(t, schema, through), open(t, schema), admin(t)
	mustSeal(t, frozen, older)
	mustCommit(t, frozen, aCommit(older, 0, "first"))
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	done := make(chan error, 1)
	p.next.Store(int32(stall))
	go func() { done <- frozen.Commit(ctx, []state.Commit{aCommit(older, 1, "half")}) }()
	<-p.struck
	mustSeal(t, s, newer)
	wantRecord(t, s, newer, 1, "first")
	if n := watch.waiting(schema); n != 0 {
		t.Errorf("%d connections wait for a lock", n)
	}
	cancel()
	err := <-done
	wantUnknown(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v", err)
	}
	p.cut() // or the pool waits for the server to confirm the cancellation
}

// TestBackendTerminated: an administrator, or a shutdown, ends the connection in
// the middle of a commit.
func TestBackendTerminated(t *testing.T) {
	s, a := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	mustCommit(t, s, aCommit(older, 0, "first"))
	h := holdCommit(t, s, deadline(t), aCommit(older, 1, "second"))
	if n := a.number("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", s.schema); n != 1 {
		t.Errorf("%d backends were terminated", n)
	}
	err := <-h.done
	wantUnknown(t, err)
	if refusal := new(pgconn.PgError); err == nil || !errors.As(err, &refusal) || refusal.Code != "57P01" || !strings.Contains(err.Error(), "may or may not") {
		t.Errorf("Commit = %v, want 57P01 and an open fate", err)
	}
	h.release()
	wantRecord(t, s, older, 1, "first")

	// Connections that were ended while nobody used them are noticed before
	// anything is sent, or the call fails with an open fate; the pool recovers.
	a.exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", s.schema)
	until(t, "the pool has recovered", func() bool {
		_, err := s.Load(deadline(t), aCommit(older, 0, "").Actor, older)
		return err == nil
	})
}

// TestContextEndsOnTheWay: the call returns although the server is held up, and
// the server gives up too.
func TestContextEndsOnTheWay(t *testing.T) {
	s, watch := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	h := holdCommit(t, s, ctx, aCommit(older, 0, "first"))
	cancel()
	err := <-h.done
	wantUnknown(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want context.Canceled", err)
	}
	until(t, "the server has given up", func() bool { return watch.waiting(s.schema) == 0 })
	h.release()
	wantRecord(t, s, older, 0, "")
}

// TestCloseCutsCalls: Close waits for nothing that the server holds up, and what
// it cuts off has an open fate.
func TestCloseCutsCalls(t *testing.T) {
	schema := newSchema(t)
	s, watch := open(t, schema), admin(t)
	mustSeal(t, s, older)
	h := holdCommit(t, s, deadline(t), aCommit(older, 0, "first"))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	err := <-h.done
	wantUnknown(t, err)
	if !errors.Is(err, errEnding) {
		t.Errorf("Commit = %v", err)
	}
	until(t, "the connections are gone", func() bool {
		return watch.number("select count(*) from pg_stat_activity where application_name = $1", schema) == 0
	})
	h.release()
	wantRecord(t, open(t, schema), older, 0, "")
}
