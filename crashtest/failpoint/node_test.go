//go:build unix

package failpoint

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/crashtest/internal/process"
	"github.com/cajun-go/cajun/link/connectlink"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/etcdmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/etcdstate"
)

// roleNode is the role of a child that is a node.
const roleNode = "node"

// settings configure a node.
type settings struct {
	Name, Cluster, Etcd string
	TTL                 time.Duration
	// Aim is where the node is to fail, see aim.
	Aim string
	// Without is the protection that the node lacks, if any.
	Without string
	// Repeats is the part of the requests that arrive twice.
	Repeats float64
	Verbose bool
}

// nodeMain is the life of a node. Its parent can tell it where to fail, and to
// go on after it was stopped.
func nodeMain() int {
	out := &process.Speaker{}
	trap := newTrap(out)
	var s settings
	err := process.Settings(&s)
	if err == nil {
		err = trap.told(s.Aim)
	}
	if err != nil {
		out.Say("failed %v", err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	level := slog.LevelError
	if s.Verbose {
		level = slog.LevelDebug
	}
	node, err := cajun.Start(ctx,
		s.stores(trap),
		cajun.WithTransport(withoutOnLink(s.Without, &watchedTransport{Transport: connectlink.New(), trap: trap, repeats: s.Repeats})),
		cajun.WithInbound(trap.aroundHandlers),
		cajun.WithCluster(s.Cluster), cajun.WithName(s.Name), cajun.WithLeaseTTL(s.TTL), hostScribes(),
		cajun.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))),
	)
	if err != nil {
		out.Say("failed %v", err)
		return 1
	}
	out.Say("ready %s", node.ID())
	go func() {
		trap.obey(bufio.NewScanner(os.Stdin))
		node.Close()
	}()
	<-node.Done()
	if err := node.Err(); err != nil && !errors.Is(err, member.ErrLost) {
		out.Say("ended badly %v", err)
		return 1
	}
	out.Say("ended")
	return 0
}

// obey does what the parent says until it is gone.
func (t *trap) obey(commands *bufio.Scanner) {
	for commands.Scan() {
		switch word, rest, _ := strings.Cut(commands.Text(), " "); word {
		case "aim":
			if err := t.told(rest); err != nil {
				t.out.Say("ended badly %v", err)
			}
		case "go-on":
			close(t.goOn)
		}
	}
}

func (t *trap) told(where string) error {
	a, err := parseAim(where)
	if err == nil {
		t.set(a)
	}
	return err
}

// aroundHandlers is an inbound interceptor.
func (t *trap) aroundHandlers(next cajun.Invoker) cajun.Invoker {
	return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
		t.at("handler.before")
		reply, err := next(ctx, call, req)
		t.at("handler.after")
		return reply, err
	}
}

// stores opens a node's stores as cajunetcd does, with points around them.
func (s settings) stores(t *trap) cajun.Option {
	return cajun.WithStores(func(_ context.Context, cluster string) (metadata.Store, state.Store, func() error, error) {
		w := &wire{trap: t}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Etcd}, Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithContextDialer(w.dial)}})
		if err != nil {
			return nil, nil, nil, err
		}
		records, err := etcdstate.New(client, "/cajun/"+cluster+"/")
		if err != nil {
			return nil, nil, nil, errors.Join(err, client.Close())
		}
		meta := etcdmeta.New(client)
		return &watchedMetadata{meta, t, w}, &watchedState{without(s.Without, records), t, w},
			func() error { return errors.Join(records.Close(), meta.Close(), client.Close()) }, nil
	})
}
