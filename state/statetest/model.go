package statetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cajun-go/cajun/state"
)

// SeedVariable is the environment variable that sets the seed of the suite's
// random test, to repeat a run that failed.
const SeedVariable = "CAJUN_STATETEST_SEED"

// model is the contract as plain maps.
type model struct {
	fences map[state.Shard]state.Fence
	actors map[state.Actor]modelActor
}

type modelActor struct {
	version uint64
	record  []byte
	rows    map[string][]byte
	agenda  state.Agenda
}

func (m *model) seal(s state.Seal) error {
	current, ok := m.fences[s.Shard]
	if ok && current != s.Fence && s.Fence.Epoch <= current.Epoch {
		return &state.FencedError{Shard: s.Shard, Current: current}
	}
	m.fences[s.Shard] = s.Fence
	return nil
}

func (m *model) checkFence(s state.Shard, f state.Fence) error {
	if current, ok := m.fences[s]; !ok || current != f {
		return &state.FencedError{Shard: s, Current: current}
	}
	return nil
}

func (m *model) commit(commits []state.Commit) error {
	for _, c := range commits {
		if err := m.checkFence(c.Actor.Shard, c.Fence); err != nil {
			return err
		}
		if m.actors[c.Actor].version != c.Version {
			return &state.ConflictError{Actor: c.Actor, Expected: c.Version}
		}
	}
	for _, c := range commits {
		old := m.actors[c.Actor]
		next := modelActor{version: old.version + 1, record: c.Record, rows: map[string][]byte{}, agenda: old.agenda}
		maps.Copy(next.rows, old.rows)
		for _, r := range c.Put {
			next.rows[r.Name] = r.Value
		}
		for _, name := range c.Delete {
			delete(next.rows, name)
		}
		if c.Agenda != nil {
			next.agenda = *c.Agenda
		}
		m.actors[c.Actor] = next
	}
	return nil
}

func (m *model) load(a state.Actor, f state.Fence) (state.Snapshot, error) {
	if err := m.checkFence(a.Shard, f); err != nil {
		return state.Snapshot{}, err
	}
	stored := m.actors[a]
	snap := state.Snapshot{Version: stored.version, Record: stored.record}
	for _, name := range slices.Sorted(maps.Keys(stored.rows)) {
		snap.Rows = append(snap.Rows, state.Row{Name: name, Value: stored.rows[name]})
	}
	return snap, nil
}

func (m *model) agendas(s state.Shard, after string, limit int) []state.Entry {
	var list []state.Entry
	for a, stored := range m.actors {
		if a.Shard == s && a.Key > after && stored.agenda != (state.Agenda{}) {
			list = append(list, state.Entry{Key: a.Key, Agenda: stored.agenda})
		}
	}
	slices.SortFunc(list, func(a, b state.Entry) int { return strings.Compare(a.Key, b.Key) })
	return list[:min(limit, len(list))]
}

// walk is a random walk of a few owners over a few shards and actors.
type walk struct {
	*env
	*rand.Rand
	model
}

const (
	walkSteps  = 400
	walkShards = 3
	walkActors = 4 // per shard
)

// testModel does random things, right and wrong ones, to the store and to the
// model, and wants the same results.
func testModel(e *env) {
	seed := rand.Uint64()
	if s := os.Getenv(SeedVariable); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			e.Fatalf("%s: %v", SeedVariable, err)
		}
	}
	e.Logf("to repeat this run: %s=%d", SeedVariable, seed)
	w := &walk{env: e, Rand: rand.New(rand.NewPCG(seed, 0)), model: model{
		fences: map[state.Shard]state.Fence{},
		actors: map[state.Actor]modelActor{},
	}}
	for step := range walkSteps {
		switch n := w.IntN(10); {
		case n < 2:
			w.stepSeal(step)
		case n < 7:
			w.stepCommit(step)
		case n < 8:
			w.stepAgenda(step, shard(uint32(w.IntN(walkShards))), 1+w.IntN(walkActors))
		default:
			w.stepLoad(step, w.actor(), 0.3)
		}
	}
	for n := range uint32(walkShards) {
		w.stepAgenda(walkSteps, shard(n), walkActors+1)
		for k := range walkActors {
			w.stepLoad(walkSteps, actor(n, key(k)), 0)
		}
	}
}

func key(k int) string { return []string{"k", "k/", "kk", "k\x00"}[k] }

func (w *walk) actor() state.Actor { return actor(uint32(w.IntN(walkShards)), key(w.IntN(walkActors))) }

func (w *walk) chance(p float64) bool { return w.Float64() < p }

// fence is the fence of s, or with probability wrong one near it.
func (w *walk) fence(s state.Shard, wrong float64) state.Fence {
	f := w.fences[s]
	if w.chance(wrong) {
		f.Epoch += uint64(w.IntN(3)) - 1
		f.Session = w.session()
	}
	return f
}

func (w *walk) session() string { return []string{"a", "b", "ab"}[w.IntN(3)] }

func (w *walk) stepSeal(step int) {
	owner := w.session()
	var seals []state.Seal
	for n := range uint32(walkShards) {
		if w.chance(0.5) {
			epoch := w.fences[shard(n)].Epoch + uint64(w.IntN(4))
			seals = append(seals, state.Seal{Shard: shard(n), Fence: fence(max(epoch, 2)-1, owner)})
		}
	}
	for i, got := range w.store.Seal(w.ctx, seals) {
		w.same(step, fmt.Sprintf("Seal(%v)", seals[i]), got, w.model.seal(seals[i]))
	}
}

func (w *walk) stepCommit(step int) {
	var commits []state.Commit
	for n := range uint32(walkShards) {
		for k := range walkActors {
			if w.chance(0.2) {
				commits = append(commits, w.randomCommit(step, actor(n, key(k))))
			}
		}
	}
	w.Shuffle(len(commits), func(i, j int) { commits[i], commits[j] = commits[j], commits[i] })
	w.same(step, fmt.Sprintf("Commit(%v)", commits), w.store.Commit(w.ctx, commits), w.model.commit(commits))
}

func (w *walk) randomCommit(step int, a state.Actor) state.Commit {
	c := state.Commit{Actor: a, Fence: w.fence(a.Shard, 0.07), Version: w.actors[a].version}
	if w.chance(0.07) {
		c.Version += uint64(w.IntN(3)) - 1
	}
	if w.chance(0.8) {
		c.Record = fmt.Appendf(nil, "record of step %d", step)
	}
	for _, name := range []string{"a", "a\x00", "b/", "\xff"} {
		switch w.IntN(4) {
		case 0:
			c.Put = append(c.Put, state.Row{Name: name, Value: fmt.Appendf(nil, "row of step %d", step)})
		case 1:
			c.Delete = append(c.Delete, name)
		}
	}
	switch w.IntN(4) {
	case 0:
		c.Agenda = due(0, 0)
	case 1:
		c.Agenda = due(int64(w.IntN(2)*step), uint32(w.IntN(3)))
	}
	return c
}

func (w *walk) stepLoad(step int, a state.Actor, wrong float64) {
	f := w.fence(a.Shard, wrong)
	what := fmt.Sprintf("Load(%v, %v)", a, f)
	got, err := w.store.Load(w.ctx, a, f)
	want, wantErr := w.load(a, f)
	w.same(step, what, err, wantErr)
	if diff := diffSnapshots(got, want); diff != "" {
		w.Fatalf("step %d: %q: %s", step, what, diff)
	}
}

func (w *walk) stepAgenda(step int, s state.Shard, limit int) {
	after := ""
	if limit <= walkActors && w.chance(0.7) {
		after = key(w.IntN(walkActors))
	}
	what := fmt.Sprintf("Agenda(%v, %q, %d)", s, after, limit)
	got, err := w.store.Agenda(w.ctx, s, after, limit)
	w.same(step, what, err, nil)
	if diff := diffEntries(got, w.model.agendas(s, after, limit)); diff != "" {
		w.Fatalf("step %d: %s: %s", step, what, diff)
	}
}

func (w *walk) same(step int, what string, got, want error) {
	if !reflect.DeepEqual(got, want) {
		w.Fatalf("step %d: %q = %v, want %v", step, what, got, want)
	}
}
