package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	benchv1 "github.com/cajun-go/cajun/bench/gen/bench/v1"
	"github.com/cajun-go/cajun/bench/gen/bench/v1/benchv1cajun"
	"github.com/cajun-go/cajun/cajunetcd"
)

// What is in flight of the raw writes: so many transactions at once, of so many
// commits each. It is about what the store does for calls to many actors.
const (
	rawFlights = 4
	rawCommits = 60
)

// BenchmarkGroupCommit makes EXACTLY_ONCE calls on an embedded etcd with fsync,
// and in turns with that lets the same etcd take raw grouped transactions. The
// ratio is that of calls to raw commits per second: at 1 and more, what the
// framework does besides costs nothing that shows, as calls of one actor that
// come at the same time share a commit.
func BenchmarkGroupCommit(b *testing.B) {
	for _, c := range []struct{ actors, callers int }{{1, 64}, {64, 64}, {64, 1024}, {1024, 1024}, {1024, 4096}} {
		b.Run(fmt.Sprintf("actors=%d/callers=%d", c.actors, c.callers), func(b *testing.B) {
			server := startEtcd(b)
			client, err := clientv3.New(server.Config())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { client.Close() })
			raw := newRawWriter(b, client, rawFlights, rawCommits)
			node := start(b, cajunetcd.With(server.Config()), hosts())
			pids := make([]benchv1cajun.CounterPid, c.actors)
			for i := range pids {
				pids[i] = benchv1cajun.NewCounterPid(node, fmt.Sprint("counter-", i))
			}
			call := func(c int) error {
				_, err := pids[c%len(pids)].Add(context.Background(), &benchv1.AddRequest{Amount: 1})
				return err
			}
			if _, err := drive(c.actors, c.actors, call); err != nil {
				b.Fatal(err)
			}
			compare(b, client, raw, c.callers, call)
		})
	}
}

// compare lets calls and raw writes have the machine in turns.
func compare(b *testing.B, client *clientv3.Client, raw *rawWriter, callers int, call func(int) error) {
	const turns = 8
	var rawTook, took time.Duration
	var rawCommits, calls, commits, txns int64
	b.ResetTimer()
	b.StopTimer()
	for r := range turns {
		n := b.N*(r+1)/turns - b.N*r/turns
		writes := max(n/raw.commits, len(raw.groups))
		d, err := drive(len(raw.groups), writes, raw.write)
		if err != nil {
			b.Fatal(err)
		}
		rawTook, rawCommits = rawTook+d, rawCommits+int64(writes*raw.commits)
		before := written(b, client)
		b.StartTimer()
		d, err = drive(callers, n, call)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		after := written(b, client)
		took, calls = took+d, calls+int64(n)
		commits, txns = commits+after.commits-before.commits, txns+after.txns-before.txns
	}
	perSecond, rawPerSecond := float64(calls)/took.Seconds(), float64(rawCommits)/rawTook.Seconds()
	b.ReportMetric(perSecond, "calls/s")
	b.ReportMetric(rawPerSecond, "raw-commits/s")
	b.ReportMetric(perSecond/rawPerSecond, "ratio")
	b.ReportMetric(float64(calls)/float64(max(commits, 1)), "calls/commit")
	b.ReportMetric(float64(commits)/float64(max(txns, 1)), "commits/txn")
}

// writes is what etcd has been asked for.
type writes struct{ commits, txns int64 }

// written counts the writes so far: each commit of an actor writes its record,
// and each transaction is a revision.
func written(b *testing.B, client *clientv3.Client) (w writes) {
	resp, err := client.Get(b.Context(), "/cajun/default/actors/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		b.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if strings.HasSuffix(string(kv.Key), "\x00") {
			w.commits += kv.Version
		}
	}
	w.txns = resp.Header.Revision
	return w
}
