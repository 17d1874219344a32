package metatest

import (
	"context"
	"errors"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

func endTests() []test {
	return []test{
		{name: "EndedContext", run: testEndedContext},
		{name: "Close", run: testClose},
	}
}

// call is one method of a store.
type call struct {
	name string
	do   func(context.Context) error
}

// calls are all methods that return an error.
func (e *env) calls(lease metadata.LeaseID) []call {
	return []call{
		{"Get", func(ctx context.Context) error {
			_, _, err := e.store.Get(ctx, e.key("k"))
			return err
		}},
		{"List", func(ctx context.Context) error {
			_, err := e.store.List(ctx, e.prefix)
			return err
		}},
		{"Commit", func(ctx context.Context) error {
			_, err := e.store.Commit(ctx, metadata.Txn{Then: []metadata.Op{metadata.Put(e.key("k"), nil, 0)}})
			return err
		}},
		{"Grant", func(ctx context.Context) error {
			_, err := e.store.Grant(ctx, time.Minute)
			return err
		}},
		{"KeepAlive", func(ctx context.Context) error { return e.store.KeepAlive(ctx, lease) }},
		{"Revoke", func(ctx context.Context) error { return e.store.Revoke(ctx, lease) }},
	}
}

func testEndedContext(e *env) {
	lease := e.grant(time.Minute)
	canceled, cancel := context.WithCancel(e.Context())
	cancel()
	late, cancelLate := context.WithDeadline(e.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	for _, c := range e.calls(lease.ID) {
		if err := c.do(canceled); !errors.Is(err, context.Canceled) {
			e.Errorf("%s with a canceled context: %v, want context.Canceled", c.name, err)
		}
		if err := c.do(late); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("%s with a context past its deadline: %v, want context.DeadlineExceeded", c.name, err)
		}
	}
	e.wantAbsent("k")
	if err := e.store.KeepAlive(e.Context(), lease.ID); err != nil {
		e.Errorf("KeepAlive: %v, so a Revoke with an ended context did something", err)
	}
	e.revoke(lease.ID)
}

func testClose(e *env) {
	lease := e.grant(time.Minute)
	w := e.watch("", e.list("").Revision)
	e.put("k", "v")
	w.events(1)
	for range 2 {
		if err := e.store.Close(); err != nil {
			e.Fatalf("Close: %v", err)
		}
	}
	for _, w := range map[string]*watcher{"open": w, "new": e.watch("", 0)} {
		b, ok := w.receive()
		for ok && b.Err == nil {
			b, ok = w.receive()
		}
		if !ok || !errors.Is(b.Err, metadata.ErrClosed) {
			e.Errorf("the watch ended with %v, want ErrClosed", b.Err)
		}
		if _, ok := w.receive(); ok {
			e.Error("the watch went on after its error")
		}
	}
	for _, c := range e.calls(lease.ID) {
		if err := c.do(e.Context()); !errors.Is(err, metadata.ErrClosed) {
			e.Errorf("%s of a closed store: %v, want ErrClosed", c.name, err)
		}
	}
}
