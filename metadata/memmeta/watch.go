package memmeta

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/internal/feed"
)

// watch is one open watch.
type watch struct {
	prefix string
	after  int64
	feed   *feed.Feed
	// stop takes back the callback at the end of the watch's context.
	stop func() bool
}

// Watch implements metadata.Store. The store keeps the latest few megabytes
// of changes; a watch that asks for older ones, or whose reader falls that far
// behind, ends with ErrCompacted.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	after = max(after, 0) // there is nothing below
	w := &watch{prefix: prefix, after: after, feed: feed.New()}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		w.feed.End()
		return w.feed.C()
	case s.closed:
		w.feed.Fail(metadata.ErrClosed)
		return w.feed.C()
	case after < s.history.compacted:
		w.feed.Fail(metadata.ErrCompacted)
		return w.feed.C()
	}
	for _, c := range s.history.since(after) {
		w.add(c.revision, c.events)
	}
	s.watches = append(s.watches, w)
	s.callbacks.Add(1)
	w.stop = context.AfterFunc(ctx, func() {
		defer s.callbacks.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		w.feed.End()
		s.watches = slices.DeleteFunc(s.watches, func(o *watch) bool { return o == w })
	})
	return w.feed.C()
}

// publish gives one revision to every watch, and forgets the watches that are
// too slow.
func (s *Store) publish(revision int64, events []metadata.Event) {
	s.watches = slices.DeleteFunc(s.watches, func(w *watch) bool {
		w.add(revision, events)
		if w.feed.Closed() {
			s.unhook(w)
			return true
		}
		return false
	})
}

// unhook takes back the context's callback of a watch that has ended.
func (s *Store) unhook(w *watch) {
	if w.stop() {
		s.callbacks.Done()
	}
}

// add hands the watch what it asked for of one revision.
func (w *watch) add(revision int64, events []metadata.Event) {
	if revision <= w.after {
		return
	}
	var mine []metadata.Event
	for _, e := range events {
		if strings.HasPrefix(e.Entry.Key, w.prefix) {
			e.Entry.Value = bytes.Clone(e.Entry.Value)
			mine = append(mine, e)
		}
	}
	if len(mine) > 0 {
		w.feed.Add(metadata.Batch{Events: mine, Revision: revision})
	}
}
