package metatest

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cajun-go/cajun/metadata"
)

func concurrencyTests() []test {
	return []test{
		{name: "CompareAndSwap", run: testCompareAndSwap},
		{name: "OneWinner", run: testOneWinner},
		{name: "ReadsDoNotGoBack", run: testReadsDoNotGoBack},
	}
}

// testCompareAndSwap counts in one key from many goroutines, and no count
// may be lost.
func testCompareAndSwap(e *env) {
	const workers, each = 8, 20
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if !e.increment("counter") {
					return
				}
			}
		})
	}
	wg.Wait()
	e.wantValue("counter", strconv.Itoa(workers*each))
}

// increment adds one to the number under a key, and reports whether it could.
func (e *env) increment(name string) bool {
	key := e.key(name)
	for {
		entry, found, err := e.store.Get(e.Context(), key)
		if err != nil {
			e.Errorf("Get: %v", err)
			return false
		}
		n := 0
		if found {
			if n, err = strconv.Atoi(string(entry.Value)); err != nil {
				e.Error(err)
				return false
			}
		}
		r, err := e.store.Commit(e.Context(), metadata.Txn{
			If:   []metadata.Cond{metadata.Unchanged(key, entry, found)},
			Then: []metadata.Op{metadata.Put(key, []byte(strconv.Itoa(n+1)), 0)},
		})
		if err != nil {
			e.Errorf("Commit: %v", err)
			return false
		}
		if r.Applied {
			return true
		}
	}
}

// testOneWinner lets many create the same keys at once.
func testOneWinner(e *env) {
	const workers, rounds = 8, 10
	for round := range rounds {
		key := e.key(fmt.Sprint(round))
		var winners atomic.Int32
		var wg sync.WaitGroup
		for worker := range workers {
			wg.Go(func() {
				r, err := e.store.Commit(e.Context(), metadata.Txn{
					If:   []metadata.Cond{metadata.Absent(key)},
					Then: []metadata.Op{metadata.Put(key, []byte(fmt.Sprint(worker)), 0)},
				})
				if err != nil {
					e.Errorf("Commit: %v", err)
				}
				if r.Applied {
					winners.Add(1)
				}
			})
		}
		wg.Wait()
		if n := winners.Load(); n != 1 {
			e.Errorf("%d of %d created the key", n, workers)
		}
	}
}

// testReadsDoNotGoBack checks what linearizability means for revisions: what
// begins after something else has returned sees at least as much.
func testReadsDoNotGoBack(e *env) {
	const workers, steps = 6, 40
	key := e.key("k")
	e.put("k", "0")
	var seen atomic.Int64 // the highest revision that a call returned
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for step := range steps {
				floor := seen.Load()
				revision, err := e.observe(key, (worker+step)%3)
				if err != nil {
					e.Error(err)
					return
				}
				if revision < floor {
					e.Errorf("a call of kind %d saw revision %d after another had seen %d", (worker+step)%3, revision, floor)
				}
				for {
					old := seen.Load()
					if revision <= old || seen.CompareAndSwap(old, revision) {
						break
					}
				}
			}
		})
	}
	wg.Wait()
}

// observe makes a call of one of three kinds, and returns the revision of key
// that it saw. Only key's own revisions count, as Get shows no others.
func (e *env) observe(key string, kind int) (int64, error) {
	switch kind {
	case 0:
		entry, _, err := e.store.Get(e.Context(), key)
		return entry.Modified, err
	case 1:
		s, err := e.store.List(e.Context(), key)
		if err != nil || len(s.Entries) != 1 {
			return 0, fmt.Errorf("a listing of one key answered %+v, %w", s, err)
		}
		return s.Entries[0].Modified, nil
	default:
		r, err := e.store.Commit(e.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, nil, 0)}})
		return r.Revision, err
	}
}
