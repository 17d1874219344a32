package bench

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// callers is how many callers have calls under way at once.
var callers = []int{1, 64, 256, 1024}

// run makes b.N calls from this many callers, and reports calls per second and
// the CPU time of the whole process per call, which other processes disturb
// less than the wall clock.
func run(b *testing.B, callers int, call func(caller int) error) {
	b.Helper()
	for c := range min(callers, 64) { // the way there is paved before the clock runs
		if err := call(c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := c; i < b.N; i += callers {
				if err := call(c); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/call")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// heap is what is reachable.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func name(callers int) string { return fmt.Sprintf("callers=%d", callers) }
