package pgstate

import (
	"testing"

	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/statetest"
)

// BenchmarkStore measures with fsync on, as every commit must be on the disk.
// What counts is the ratio of CommitGrouped to CommitSeries, per actor: the gain
// of group commit. CommitConcurrent has one actor per transaction, too, but many
// transactions at a time.
func BenchmarkStore(b *testing.B) {
	needServer(b)
	if server.private {
		fsync(b, "on")
		b.Cleanup(func() { fsync(b, "off") })
	}
	statetest.Bench(b, func(t testing.TB) state.Store { return open(t, newSchema(t)) })
}

func fsync(b *testing.B, value string) {
	a := admin(b)
	a.exec("alter system set fsync = " + value)
	a.exec("select pg_reload_conf()")
	until(b, "fsync is "+value, func() bool {
		var now string
		if err := a.QueryRow(a.ctx, "show fsync").Scan(&now); err != nil {
			b.Fatal(err)
		}
		return now == value
	})
}
