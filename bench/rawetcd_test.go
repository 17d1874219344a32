package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The limit of group commit: what a commit does at the least, written straight
// into etcd by whoever needs no framework. It has no actors, no routing, no
// memory of its own to keep in step, and knows beforehand what belongs into
// which transaction.

// rawCommit is one commit in the making: on the condition that a shard's fence
// and the version of an actor's record are what the writer thinks, it puts the
// record and the row that remembers the calls of one caller.
type rawCommit struct{ fence, record, row string }

// The values are as long as those of the benchmark's counters, and so are the
// keys: an epoch and a session; a commit ID and a number; and a watermark, a
// sequence, a hash of the request and a reply with a number.
const (
	rawSession    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	rawFence      = "\x00\x00\x00\x00\x00\x00\x00\x01" + rawSession
	rawRecordSize = 24
	rawRowSize    = 35
)

// rawGroup is the commits of one transaction, which is written over and over.
type rawGroup struct {
	commits []rawCommit
	version int64
}

// rawWriter writes groups, each in a transaction of its own and all at once.
type rawWriter struct {
	client *clientv3.Client
	groups []*rawGroup
	// commits is how many a transaction has.
	commits int
}

// newRawWriter prepares as many groups as are to be in flight, with so many
// commits in each.
func newRawWriter(b *testing.B, client *clientv3.Client, flights, commits int) *rawWriter {
	w := &rawWriter{client: client, commits: commits}
	for f := range flights {
		g := new(rawGroup)
		for i := range commits {
			shard := f*commits + i
			record := fmt.Sprintf("/plain/default/actors/bench.v1.Counter/%d/counter-%d\x00", shard, shard)
			c := rawCommit{
				fence:  fmt.Sprintf("/plain/default/fences/bench.v1.Counter/%d", shard),
				record: record,
				row:    record + "c/" + rawSession,
			}
			if _, err := client.Put(b.Context(), c.fence, rawFence); err != nil {
				b.Fatal(err)
			}
			g.commits = append(g.commits, c)
		}
		w.groups = append(w.groups, g)
	}
	return w
}

// write writes one group once more. The caller sees to it that nobody else
// writes the same group meanwhile.
func (w *rawWriter) write(group int) error {
	g := w.groups[group]
	conds := make([]clientv3.Cmp, 0, 2*len(g.commits))
	puts := make([]clientv3.Op, 0, 2*len(g.commits))
	record, row := strings.Repeat("s", rawRecordSize), strings.Repeat("r", rawRowSize)
	for _, c := range g.commits {
		conds = append(conds,
			clientv3.Compare(clientv3.Value(c.fence), "=", rawFence),
			clientv3.Compare(clientv3.Version(c.record), "=", g.version))
		puts = append(puts, clientv3.OpPut(c.record, record), clientv3.OpPut(c.row, row))
	}
	resp, err := w.client.Txn(context.Background()).If(conds...).Then(puts...).Commit()
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return errors.New("etcd refused a raw group")
	}
	g.version++
	return nil
}

// drive does something total times, by so many workers at once, who take what
// is left as they get ready. It returns how long that took.
func drive(workers, total int, do func(worker int) error) (time.Duration, error) {
	var left atomic.Int64
	left.Store(int64(total))
	failed := make(chan error, workers)
	var all sync.WaitGroup
	began := time.Now()
	for w := range workers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(w); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	close(failed)
	return took, <-failed
}
