package etcdmeta

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/internal/feed"
)

// Watch implements metadata.Store.
//
// When the connection breaks, the client resumes after the last revision that
// it saw, on any member that it reaches. A member that has lost its leader,
// as one on the wrong side of a partition, ends the watch with an error instead
// of going silent. A reader that falls a few megabytes behind ends its watch
// with ErrCompacted.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	f := feed.New()
	if ctx.Err() != nil {
		f.End()
		return f.C()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		f.Fail(metadata.ErrClosed)
		return f.C()
	}
	s.running.Go(func() { s.watch(ctx, prefix, after, f) })
	return f.C()
}

// watch copies from etcd to f until either ends. It never waits for the
// reader: what the client cannot hand over it would buffer without a bound.
func (s *Store) watch(caller context.Context, prefix string, after int64, f *feed.Feed) {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()

	// Progress notices move the point from which a quiet watch resumes, so
	// that it does not fall behind compaction.
	responses := s.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(),
		clientv3.WithRev(max(after, 0)+1), clientv3.WithProgressNotify())
	for resp := range responses {
		if err := resp.Err(); err != nil {
			s.end(caller, f, err)
			return
		}
		if b, ok := batch(resp); ok && !f.Add(b) {
			return
		}
	}
	s.end(caller, f, errors.New("the etcd client was closed"))
}

// end says to the reader why its watch is over.
func (s *Store) end(caller context.Context, f *feed.Feed, err error) {
	switch {
	case caller.Err() != nil:
		f.End()
	case s.ctx.Err() != nil:
		f.Fail(metadata.ErrClosed)
	case errors.Is(err, rpctypes.ErrCompacted):
		f.Fail(metadata.ErrCompacted)
	default:
		f.Fail(fmt.Errorf("etcdmeta: watch: %w", err))
	}
}

// batch translates a response, unless it says nothing.
//
// A batch is complete up to the revision of its last event: etcd sends the
// events of one revision in one response, as fragments are not asked for.
// The response's header is no such promise. While a watch catches up etcd
// sends the past in pieces, each under the newest revision of all. The header
// does hold in a progress notice, which only a watch that has caught up gets.
func batch(resp clientv3.WatchResponse) (metadata.Batch, bool) {
	if resp.IsProgressNotify() {
		return metadata.Batch{Revision: resp.Header.GetRevision()}, true
	}
	if len(resp.Events) == 0 {
		return metadata.Batch{}, false
	}
	events := make([]metadata.Event, len(resp.Events))
	for i, ev := range resp.Events {
		if ev.Type == clientv3.EventTypeDelete {
			events[i] = metadata.Event{
				Entry:   metadata.Entry{Key: string(ev.Kv.GetKey()), Modified: ev.Kv.GetModRevision()},
				Deleted: true,
			}
			continue
		}
		events[i] = metadata.Event{Entry: entry(ev.Kv)}
	}
	return metadata.Batch{
		Events:   events,
		Revision: events[len(events)-1].Entry.Modified,
	}, true
}
