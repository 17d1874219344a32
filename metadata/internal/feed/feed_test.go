package feed_test

import (
	"errors"
	"testing"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/internal/feed"
)

func batch(revision int64, size int) metadata.Batch {
	return metadata.Batch{Revision: revision, Events: []metadata.Event{{
		Entry: metadata.Entry{Key: "k", Value: make([]byte, size), Modified: revision},
	}}}
}

func TestMergesWhatWaits(t *testing.T) {
	f := feed.New()
	for r := range int64(100) {
		if !f.Add(batch(r, 1)) {
			t.Fatal("refused")
		}
	}
	first := <-f.C()
	if len(first.Events) != 100 || first.Revision != 99 {
		t.Errorf("%d events up to %d, want 100 up to 99", len(first.Events), first.Revision)
	}
	for i, ev := range first.Events {
		if ev.Entry.Modified != int64(i) {
			t.Errorf("event %d is of revision %d", i, ev.Entry.Modified)
		}
	}
	f.Add(batch(100, 1))
	f.Add(metadata.Batch{Revision: 105})
	second := <-f.C()
	if len(second.Events) != 1 || second.Revision != 105 {
		t.Errorf("got %+v, want revision 100 complete up to 105", second)
	}
	if first.Events[0].Entry.Modified != 0 || len(first.Events) != 100 {
		t.Error("a batch changed after it was read")
	}
}

func TestSlowReaderIsCompacted(t *testing.T) {
	f := feed.New()
	const size = 64 << 10
	added := 0
	for f.Add(batch(int64(added+1), size)) {
		if added++; added > 2*feed.Limit/size {
			t.Fatal("the feed takes without a bound")
		}
	}
	if added < feed.Limit/size/2 {
		t.Errorf("refused after %d bytes, below the limit of %d", added*size, feed.Limit)
	}
	if b := <-f.C(); !errors.Is(b.Err, metadata.ErrCompacted) {
		t.Errorf("got %d events and %v, want ErrCompacted", len(b.Events), b.Err)
	}
	if _, ok := <-f.C(); ok || !f.Closed() || f.Add(batch(1, 1)) {
		t.Error("the feed goes on after its error")
	}
}

func TestReaderThatKeepsUpIsNot(t *testing.T) {
	f := feed.New()
	for r := range int64(40) {
		if !f.Add(batch(r, 1<<20)) {
			t.Fatal("refused, though nothing waits")
		}
		<-f.C()
	}
}

func TestErrorFollowsWhatWaits(t *testing.T) {
	f := feed.New()
	f.Add(batch(1, 1))
	f.Fail(metadata.ErrClosed)
	f.Fail(errors.New("later"))
	f.End()
	if b := <-f.C(); len(b.Events) != 1 {
		t.Errorf("got %+v, want the event first", b)
	}
	if b := <-f.C(); !errors.Is(b.Err, metadata.ErrClosed) {
		t.Errorf("got %+v, want the error", b)
	}
	if _, ok := <-f.C(); ok {
		t.Error("the channel is still open")
	}
}
