package metatest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

func watchTests() []test {
	return []test{
		{name: "WatchEvents", run: testWatchEvents},
		{name: "WatchHistory", run: testWatchHistory},
		{name: "WatchFuture", run: testWatchFuture},
		{name: "WatchPrefix", run: testWatchPrefix},
		{name: "WatchOddPrefixes", run: testWatchOddPrefixes},
		{name: "WatchRevisionsWhole", run: testWatchWhole},
		{name: "WatchManyReaders", run: testWatchMany},
		{name: "WatchEndsWithContext", run: testWatchContext},
		{name: "WatchSlowReader", run: testWatchSlow},
	}
}

func compactingTests() []test {
	return []test{{name: "WatchCompacted", run: testWatchCompacted}}
}

// watcher reads a watch and checks what every watch promises.
type watcher struct {
	e        *env
	batches  <-chan metadata.Batch
	pending  []metadata.Event
	revision int64 // complete up to here
}

// watch watches a part of the test's keys until the test ends.
func (e *env) watch(prefix string, after int64) *watcher {
	return e.watchKey(e.Context(), e.key(prefix), after)
}

func (e *env) watchKey(ctx context.Context, prefix string, after int64) *watcher {
	return &watcher{e: e, batches: e.store.Watch(ctx, prefix, after), revision: after}
}

// receive returns the next batch as it comes, and whether there is one.
func (w *watcher) receive() (metadata.Batch, bool) {
	w.e.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case b, ok := <-w.batches:
		return b, ok
	case <-timeout.C:
		w.e.Fatalf("the watch says nothing for %v", patience)
		return metadata.Batch{}, false
	}
}

// next takes one good batch into pending.
func (w *watcher) next() {
	w.e.Helper()
	b, ok := w.receive()
	if !ok || b.Err != nil {
		w.e.Fatalf("the watch ended: %v", b.Err)
	}
	w.take(b)
}

// take checks a batch: it begins above what was complete before, its
// revisions do not fall, and it is complete up to its last event at least.
func (w *watcher) take(b metadata.Batch) {
	w.e.Helper()
	last := w.revision + 1
	for _, ev := range b.Events {
		if ev.Entry.Modified < last {
			w.e.Fatalf("an event of revision %d after %d: %+v", ev.Entry.Modified, last, b)
		}
		last = ev.Entry.Modified
		if ev.Deleted && (len(ev.Entry.Value) != 0 || ev.Entry.Created != 0 || ev.Entry.Lease != 0) {
			w.e.Errorf("a deletion tells more than key and revision: %+v", ev.Entry)
		}
	}
	if len(b.Events) > 0 && b.Revision < last {
		w.e.Fatalf("a batch with revision %d claims to be complete up to %d only", last, b.Revision)
	}
	w.revision = max(w.revision, b.Revision)
	w.pending = append(w.pending, b.Events...)
}

// events returns the next n events.
func (w *watcher) events(n int) []metadata.Event {
	w.e.Helper()
	for len(w.pending) < n {
		w.next()
	}
	events := w.pending[:n]
	w.pending = w.pending[n:]
	return events
}

// wantEvents expects exactly these changes next, one key and revision each.
func (w *watcher) wantEvents(want ...metadata.Event) {
	w.e.Helper()
	for i, got := range w.events(len(want)) {
		if got.Deleted != want[i].Deleted {
			w.e.Errorf("event %d is %+v, want %+v", i, got, want[i])
		}
		w.e.wantEntry(got.Entry, want[i].Entry)
	}
}

// putEvent is the event of a put.
func (e *env) putEvent(name, value string, created, modified int64) metadata.Event {
	return metadata.Event{Entry: metadata.Entry{
		Key: e.key(name), Value: []byte(value), Created: created, Modified: modified,
	}}
}

// deleteEvent is the event of a deletion.
func (e *env) deleteEvent(name string, revision int64) metadata.Event {
	return metadata.Event{Entry: metadata.Entry{Key: e.key(name), Modified: revision}, Deleted: true}
}

func testWatchEvents(e *env) {
	w := e.watch("", e.list("").Revision)
	a := e.put("k", "one").Revision
	b := e.put("k", "two").Revision
	c := e.delete("k").Revision
	d := e.put("k", "").Revision
	w.wantEvents(e.putEvent("k", "one", a, a), e.putEvent("k", "two", a, b), e.deleteEvent("k", c), e.putEvent("k", "", d, d))

	lease := e.grant(time.Minute)
	r := e.bind("bound", lease.ID).Revision
	bound := e.putEvent("bound", "v", r, r)
	bound.Entry.Lease = lease.ID
	w.wantEvents(bound)
	e.revoke(lease.ID)
}

func testWatchHistory(e *env) {
	const writes = 30
	start := e.list("").Revision
	var revisions []int64
	for i := range writes {
		revisions = append(revisions, e.put("k", fmt.Sprint(i)).Revision)
	}
	for _, from := range []int{0, 1, writes / 2, writes - 1} {
		after := start
		if from > 0 {
			after = revisions[from-1]
		}
		w := e.watch("", after)
		for i := from; i < writes; i++ {
			w.wantEvents(e.putEvent("k", fmt.Sprint(i), revisions[0], revisions[i]))
		}
	}
	// What a List shows is exactly what a watch from its revision leaves out.
	w := e.watch("", e.list("").Revision)
	r := e.put("k", "last").Revision
	w.wantEvents(e.putEvent("k", "last", revisions[0], r))
}

func testWatchFuture(e *env) {
	after := e.list("").Revision + 5
	w := e.watch("", after)
	created, revision, i := int64(0), int64(0), 0
	for ; revision <= after; i++ {
		revision = e.put("k", fmt.Sprint(i)).Revision
		if created == 0 {
			created = revision
		}
	}
	w.wantEvents(e.putEvent("k", fmt.Sprint(i-1), created, revision))
}

func testWatchPrefix(e *env) {
	start := e.list("").Revision
	dir, key, all := e.watch("a/", start), e.watch("a", start), e.watch("", start)
	r1 := e.put("a", "1").Revision
	r2 := e.put("a/b", "2").Revision
	r3 := e.put("ab", "3").Revision
	r4 := e.put("b", "4").Revision
	r5 := e.put("a/", "5").Revision
	e1, e2, e3 := e.putEvent("a", "1", r1, r1), e.putEvent("a/b", "2", r2, r2), e.putEvent("ab", "3", r3, r3)
	e4, e5 := e.putEvent("b", "4", r4, r4), e.putEvent("a/", "5", r5, r5)
	dir.wantEvents(e2, e5)
	key.wantEvents(e1, e2, e3, e5)
	all.wantEvents(e1, e2, e3, e4, e5)
}

func testWatchOddPrefixes(e *env) {
	start := e.list("").Revision
	a, ff, everything := e.watch("a\xff", start), e.watch("\xff", start), e.watchKey(e.Context(), "", start)
	e.put("b", "no")
	e.put("a", "no")
	r1 := e.put("a\xff\xff", "1").Revision
	r2 := e.put("\xff", "2").Revision
	r3 := e.put("a\xff", "3").Revision
	a.wantEvents(e.putEvent("a\xff\xff", "1", r1, r1), e.putEvent("a\xff", "3", r3, r3))
	ff.wantEvents(e.putEvent("\xff", "2", r2, r2))
	for {
		if ev := everything.events(1)[0]; ev.Entry.Key == e.key("a\xff") {
			break
		}
	}
}

// testWatchWhole writes several keys at a time; each revision must arrive
// whole, be it from history, live, or merged while the reader was away.
func testWatchWhole(e *env) {
	const writes, width = 40, 7
	start := e.list("").Revision
	live := e.watch("", start)
	revisions := make(map[int64]bool)
	for i := range writes {
		var ops []metadata.Op
		for j := range width {
			ops = append(ops, metadata.Put(e.key(fmt.Sprint(j)), []byte(fmt.Sprint(i)), 0))
		}
		revisions[e.do(ops...).Revision] = true
	}
	for name, w := range map[string]*watcher{"live": live, "history": e.watch("", start)} {
		seen := make(map[int64]int)
		for n := 0; n < writes*width; {
			w.next()
			batch := make(map[int64]int)
			for _, ev := range w.pending {
				batch[ev.Entry.Modified]++
			}
			n += len(w.pending)
			w.pending = nil
			for revision, count := range batch {
				if count != width {
					e.Errorf("%s: a batch holds %d of the %d events of revision %d", name, count, width, revision)
				}
				seen[revision] += count
			}
		}
		for revision := range revisions {
			if seen[revision] != width {
				e.Errorf("%s: %d events of revision %d, want %d", name, seen[revision], revision, width)
			}
		}
	}
}

func testWatchMany(e *env) {
	const readers, writes = 10, 50
	start := e.list("").Revision
	var watchers []*watcher
	for range readers {
		watchers = append(watchers, e.watch("", start))
	}
	var want []metadata.Event
	var created int64
	for i := range writes {
		r := e.put("k", fmt.Sprint(i)).Revision
		if i == 0 {
			created = r
		}
		want = append(want, e.putEvent("k", fmt.Sprint(i), created, r))
	}
	for _, w := range watchers {
		w.wantEvents(want...)
	}
}

func testWatchContext(e *env) {
	start := e.list("").Revision
	ctx, cancel := context.WithCancel(e.Context())
	stays := e.watch("", start)
	ends := e.watchKey(ctx, e.prefix, start)
	r := e.put("k", "v").Revision
	ends.wantEvents(e.putEvent("k", "v", r, r))
	cancel()
	ends.wantEnd()
	e.watchKey(ctx, e.prefix, start).wantEnd()
	stays.wantEvents(e.putEvent("k", "v", r, r))
}

// wantEnd expects the channel to be closed, without an error.
func (w *watcher) wantEnd() {
	w.e.Helper()
	for {
		b, ok := w.receive()
		if !ok {
			return
		}
		if b.Err != nil {
			w.e.Errorf("the watch of an ended context says %v", b.Err)
		}
	}
}

// testWatchSlow writes many megabytes that nobody reads. A store may keep
// them all, or give up with ErrCompacted, but must neither block the writer
// nor leave anything out.
func testWatchSlow(e *env) {
	const writes, size = 48, 256 << 10
	start := e.list("").Revision
	w := e.watch("", start)
	value := string(make([]byte, size))
	var revisions []int64
	for range writes {
		revisions = append(revisions, e.put("k", value).Revision)
	}
	for _, want := range revisions {
		for len(w.pending) == 0 {
			b, ok := w.receive()
			if !ok {
				e.Fatal("the watch ended without an error")
			}
			if errors.Is(b.Err, metadata.ErrCompacted) {
				if b, ok := w.receive(); ok {
					e.Fatalf("the watch went on after its error: %+v", b)
				}
				return
			}
			if b.Err != nil {
				e.Fatalf("the watch ended: %v", b.Err)
			}
			w.take(b)
		}
		if ev := w.events(1)[0]; ev.Entry.Modified != want {
			e.Fatalf("an event of revision %d, want %d", ev.Entry.Modified, want)
		}
	}
}

func testWatchCompacted(e *env) {
	store, ok := e.store.(Compacter)
	if !ok {
		e.Skip("the store does not compact on demand")
	}
	start := e.list("").Revision
	live := e.watch("", start)
	r1 := e.put("k", "1").Revision
	r2 := e.put("k", "2").Revision
	r3 := e.put("k", "3").Revision
	e1, e2, e3 := e.putEvent("k", "1", r1, r1), e.putEvent("k", "2", r1, r2), e.putEvent("k", "3", r1, r3)
	live.wantEvents(e1, e2, e3)
	if err := store.Compact(e.Context(), r3); err != nil {
		e.Fatalf("Compact: %v", err)
	}
	for _, after := range []int64{0, start, r1} {
		w := e.watch("", after)
		if b, ok := w.receive(); !ok || !errors.Is(b.Err, metadata.ErrCompacted) {
			e.Errorf("a watch after %d, compacted at %d: %+v, want ErrCompacted", after, r3, b)
		}
		if _, ok := w.receive(); ok {
			e.Error("the watch went on after its error")
		}
	}
	recent := e.watch("", r2)
	r4 := e.put("k", "4").Revision
	e4 := e.putEvent("k", "4", r1, r4)
	recent.wantEvents(e3, e4)
	live.wantEvents(e4)
}
