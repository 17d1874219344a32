package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

// This is a bounded model of the ownership protocol for one shard: claim, seal,
// commit, move, crash, burial, suspension and restore. explore tries every
// interleaving of what a few nodes, the stores and the environment may do, and
// looks for states that must not be. docs/model/README.md tells what it covers.

// sentence is a sentence of the protocol that the model can leave out.
type sentence int

const (
	whole sentence = iota // leaves out nothing
	claimComparesRecord
	claimNeedsDeadOwner
	claimWhenTargetGone
	claimOwnAgain
	sealOnlyRaises
	sealNamesSession
	claimAboveFence
	commitComparesFence
	dropWhenUnnamed
	resumeNeedsMemberKey
)

// world is what the environment may do, and how often.
type world struct {
	nodes                                                                      int
	moves, crashes, burials, suspensions, lostAnswers, lostSeals, restorations int8
}

const (
	maxEpoch   = 6
	maxVersion = 2
	nobody     = int8(-1)
	maxNodes   = 3
)

type modelRecord struct {
	owner  int8 // nobody: there is no record
	epoch  int8
	phase  Phase
	target int8
}

func (r modelRecord) String() string {
	switch {
	case r.owner == nobody:
		return "(none)"
	case r.target == nobody:
		return fmt.Sprintf("(n%d, epoch %d, %v)", r.owner, r.epoch, r.phase)
	}
	return fmt.Sprintf("(n%d, epoch %d, %v to n%d)", r.owner, r.epoch, r.phase, r.target)
}

type stage int8

const (
	idle stage = iota
	hasRead
	hasClaimed
	serves
	isGone // crashed, or its session is over
)

type modelNode struct {
	stage stage
	// crashed nodes renew no lease.
	crashed, suspended bool
	read               modelRecord // in hasRead
	epoch              int8        // from hasClaimed on
	version            int8        // of the state that it has in memory
	floor              int8        // of a fence that refused it
	late               int8        // epoch of a seal that was given up and may still arrive
}

type modelState struct {
	rec           modelRecord
	member, lease [maxNodes]bool
	fence         struct{ epoch, owner int8 }
	sealed        int8 // highest epoch ever sealed
	version       int8 // of the stored state
	nodes         [maxNodes]modelNode
	backup        modelRecord
	hasBackup     bool
	left          world
}

// transition is one thing that may happen.
type transition struct {
	name string
	to   modelState
	// progress says that it happens sooner or later, provided that calls come;
	// the rest are faults and moves.
	progress bool
	// bad names what must never happen.
	bad string
}

// model runs the protocol without one of its sentences.
type model struct {
	without sentence
	world   world
}

func (m model) start() modelState {
	s := modelState{rec: modelRecord{owner: nobody, target: nobody}, left: m.world}
	s.fence.owner = nobody
	for i := range m.world.nodes {
		s.member[i], s.lease[i] = true, true
	}
	return s
}

// mayCommit is the comparison in the state store's transaction.
func (m model) mayCommit(s modelState, i int) bool {
	n := s.nodes[i]
	switch {
	case n.stage != serves || n.suspended || n.crashed:
		return false
	case m.without == commitComparesFence:
		return true
	case m.without == sealNamesSession:
		return s.fence.epoch == n.epoch
	}
	return s.fence.epoch == n.epoch && s.fence.owner == int8(i)
}

func (m model) maySeal(s modelState, i int, e int8) bool {
	switch m.without {
	case sealOnlyRaises:
		return true
	case sealNamesSession:
		return s.fence.epoch <= e
	default:
		return s.fence.epoch < e || s.fence.epoch == e && s.fence.owner == int8(i)
	}
}

// mayClaim is the condition of a claim by i on the record that it has read.
func (m model) mayClaim(s modelState, i int) bool {
	r := s.nodes[i].read
	switch {
	case !s.member[i] || m.without != claimComparesRecord && r != s.rec:
		return false
	case r.owner == nobody:
		return true
	case r.phase != Released && r.owner == int8(i):
		return m.without != claimOwnAgain
	case r.phase != Released:
		return !s.member[r.owner] || m.without == claimNeedsDeadOwner
	case r.target == nobody || r.target == int8(i):
		return true
	}
	return m.without != claimWhenTargetGone && !s.member[r.target]
}

// next returns everything that may happen in a state.
func (m model) next(s modelState) []transition {
	var all []transition
	for i := range m.world.nodes {
		n := s.nodes[i]
		switch {
		case n.stage == isGone:
		case n.suspended:
			all = append(all, m.whileSuspended(s, i)...)
		default:
			all = append(all, m.claiming(s, i)...)
			all = append(all, m.serving(s, i)...)
			if !s.member[i] {
				all = append(all, transition{name: fmt.Sprintf("n%d learns that its member key is gone", i), to: s.with(i, modelNode{stage: isGone}), progress: true})
			}
		}
		all = append(all, m.faults(s, i)...)
	}
	if s.left.restorations > 0 {
		t := s
		if !s.hasBackup {
			t.backup, t.hasBackup = s.rec, true
			all = append(all, transition{name: "the metadata store is backed up", to: t})
		} else {
			t.rec = s.backup
			t.left.restorations--
			all = append(all, transition{name: "the metadata store is restored", to: t})
		}
	}
	return all
}

func (s modelState) with(i int, n modelNode) modelState {
	s.nodes[i] = n
	return s
}

func (m model) claiming(s modelState, i int) []transition {
	n := s.nodes[i]
	var all []transition
	add := func(t modelState, progress bool, format string, args ...any) {
		all = append(all, transition{name: fmt.Sprintf(format, args...), to: t, progress: progress})
	}
	switch n.stage {
	case idle:
		add(s.with(i, modelNode{stage: hasRead, read: s.rec, floor: n.floor, late: n.late}), true, "n%d reads the record %v", i, s.rec)
		t := s
		switch {
		case s.rec.owner == int8(i) && s.rec.phase == Draining:
			t.rec.phase = Released
			add(t, true, "n%d, which does not serve, releases to n%d", i, s.rec.target)
		case s.rec.phase == Released && s.rec.target == int8(i):
			t.rec.target = nobody
			add(t, false, "n%d declines", i)
		}
	case hasRead:
		epoch := n.read.epoch + 1
		if m.without != claimAboveFence {
			epoch = max(n.read.epoch, n.floor) + 1
		}
		if !m.mayClaim(s, i) {
			add(s.with(i, modelNode{floor: n.floor, late: n.late}), true, "n%d may not claim", i)
			break
		}
		if epoch > maxEpoch {
			break
		}
		t := s.with(i, modelNode{stage: hasClaimed, epoch: epoch, floor: n.floor, late: n.late})
		t.rec = modelRecord{owner: int8(i), epoch: epoch, phase: Open, target: nobody}
		add(t, true, "n%d claims epoch %d", i, epoch)
		if s.left.lostAnswers > 0 {
			t = t.with(i, modelNode{floor: n.floor, late: n.late})
			t.left.lostAnswers--
			add(t, false, "n%d claims epoch %d and does not hear of it", i, epoch)
		}
	case hasClaimed:
		if s.left.lostSeals > 0 && s.rec.owner == int8(i) && s.rec.epoch == n.epoch {
			t := s.with(i, modelNode{late: n.epoch})
			t.rec.phase, t.rec.target = Released, nobody
			t.left.lostSeals--
			add(t, false, "n%d gives up its seal of epoch %d and releases to anyone", i, n.epoch)
		}
		if !m.maySeal(s, i, n.epoch) {
			add(s.with(i, modelNode{floor: s.fence.epoch, late: n.late}), true, "n%d may not seal epoch %d: the fence is epoch %d of n%d", i, n.epoch, s.fence.epoch, s.fence.owner)
			if n.floor == s.fence.epoch {
				all[len(all)-1].bad = "a claim refused twice by one fence"
			}
			break
		}
		t := s.with(i, modelNode{stage: serves, epoch: n.epoch, version: s.version, late: n.late})
		t.fence.epoch, t.fence.owner = n.epoch, int8(i)
		t.sealed = max(s.sealed, n.epoch)
		add(t, true, "n%d seals epoch %d and loads version %d", i, n.epoch, s.version)
	}
	if n.late > 0 {
		t := s
		t.nodes[i].late = 0
		if m.maySeal(s, i, n.late) {
			t.fence.epoch, t.fence.owner = n.late, int8(i)
			t.sealed = max(s.sealed, n.late)
		}
		add(t, false, "n%d's late seal of epoch %d arrives", i, n.late)
	}
	return all
}

func (m model) serving(s modelState, i int) []transition {
	n := s.nodes[i]
	if n.stage != serves && n.stage != hasClaimed {
		return nil
	}
	var all []transition
	named := s.rec.owner == int8(i) && s.rec.epoch == n.epoch
	if !named && m.without != dropWhenUnnamed {
		all = append(all, transition{name: fmt.Sprintf("n%d sees that the record does not name it", i), to: s.with(i, modelNode{late: n.late}), progress: true})
	}
	if n.stage != serves {
		return all
	}
	switch {
	case !m.mayCommit(s, i):
		all = append(all, transition{name: fmt.Sprintf("n%d is fenced and drops", i), to: s.with(i, modelNode{late: n.late}), progress: true})
	case n.version < s.version:
		n.version = s.version
		all = append(all, transition{name: fmt.Sprintf("n%d meets another version and loads again", i), to: s.with(i, n)})
	case s.version < maxVersion:
		n.version++
		t := s.with(i, n)
		t.version++
		c := transition{name: fmt.Sprintf("n%d commits version %d under epoch %d", i, t.version, n.epoch), to: t}
		if n.epoch < s.sealed {
			c.bad = "a commit under an epoch older than a seal"
		}
		all = append(all, c)
	}
	if named && s.rec.phase == Draining {
		t := s.with(i, modelNode{late: n.late})
		t.rec.phase = Released
		all = append(all, transition{name: fmt.Sprintf("n%d releases to n%d", i, s.rec.target), to: t, progress: true})
		if !s.member[s.rec.target] {
			t := s
			t.rec.phase, t.rec.target = Open, nobody
			all = append(all, transition{name: fmt.Sprintf("n%d calls the move off", i), to: t, progress: true})
		}
	}
	return all
}

func (m model) whileSuspended(s modelState, i int) []transition {
	n := s.nodes[i]
	n.suspended = false
	if s.lease[i] && (s.member[i] || m.without == resumeNeedsMemberKey) {
		return []transition{{name: fmt.Sprintf("n%d resumes", i), to: s.with(i, n), progress: true}}
	}
	return []transition{{name: fmt.Sprintf("n%d cannot resume", i), to: s.with(i, modelNode{stage: isGone}), progress: true}}
}

func (m model) faults(s modelState, i int) []transition {
	n := s.nodes[i]
	var all []transition
	add := func(t modelState, progress bool, format string, args ...any) {
		all = append(all, transition{name: fmt.Sprintf(format, args...), to: t, progress: progress})
	}
	if s.left.crashes > 0 && n.stage != isGone {
		t := s.with(i, modelNode{stage: isGone, crashed: true})
		t.left.crashes--
		add(t, false, "n%d crashes", i)
	}
	if s.left.suspensions > 0 && n.stage != isGone && !n.suspended {
		n.suspended = true
		t := s.with(i, n)
		t.left.suspensions--
		add(t, false, "n%d is suspended", i)
	}
	// With suspensions in the world, only suspended nodes are buried: that one
	// is buried that answers is another world, in which stale reads are expected.
	n = s.nodes[i]
	if s.left.burials > 0 && s.member[i] && (n.suspended || m.world.suspensions == 0) && n.stage != isGone {
		t := s
		t.member[i] = false
		t.left.burials--
		add(t, false, "n%d is buried alive", i)
	}
	if s.lease[i] && (n.crashed || n.suspended || !s.member[i]) {
		t := s
		t.member[i], t.lease[i] = false, false
		add(t, true, "n%d's lease ends", i)
	}
	if s.left.moves > 0 && s.rec.owner == int8(i) && s.rec.phase == Open && s.member[i] {
		for j := range m.world.nodes {
			if j != i && s.member[j] {
				t := s
				t.rec.phase, t.rec.target = Draining, int8(j)
				t.left.moves--
				add(t, false, "the leader moves the shard to n%d", j)
			}
		}
	}
	return all
}

// wrong says what must not be about a state, or "".
func (m model) wrong(s modelState) string {
	committers := 0
	for i, n := range s.nodes[:m.world.nodes] {
		if m.mayCommit(s, i) {
			committers++
		}
		if n.stage != serves || n.suspended {
			continue
		}
		// Burial of a node that answers, and a restore under running nodes, are
		// allowed to cost stale reads.
		expected := m.world.restorations > 0 || m.world.burials > 0 && m.world.suspensions == 0
		if n.version < s.version && !expected {
			return "a stale read"
		}
		if named := s.rec.owner == int8(i) && s.rec.epoch == n.epoch; !named && s.member[i] && m.without == dropWhenUnnamed &&
			s.fence.owner != int8(i) {
			return "a node that serves for ever what it has lost"
		}
	}
	if committers > 1 {
		return "two committers"
	}
	return ""
}

// good states have a live owner that everybody agrees on.
func good(s modelState) bool {
	if s.rec.owner == nobody {
		return false
	}
	n := s.nodes[s.rec.owner]
	return n.stage == serves && !n.suspended && n.epoch == s.rec.epoch && s.fence.epoch == n.epoch && s.fence.owner == s.rec.owner
}

// explore returns what can go wrong, each with a shortest way to it, and how
// many states there are. It stops when it finds what enough names.
func (m model) explore(enough string) (found map[string][]string, states int) {
	type origin struct {
		from int
		name string
	}
	first := m.start()
	index := map[modelState]int{first: 0}
	all := []modelState{first}
	origins := []origin{{-1, ""}}
	back := [][]int32{nil} // by progress
	found = make(map[string][]string)
	report := func(what string, i int, last string) {
		if what == "" || found[what] != nil {
			return
		}
		trace := []string{}
		for ; i > 0; i = origins[i].from {
			trace = append(trace, origins[i].name)
		}
		slices.Reverse(trace)
		if last != "" {
			trace = append(trace, last)
		}
		found[what] = trace
	}
	for i := 0; i < len(all) && found[enough] == nil; i++ {
		report(m.wrong(all[i]), i, "")
		for _, t := range m.next(all[i]) {
			report(t.bad, i, t.name)
			j, known := index[t.to]
			if !known {
				j = len(all)
				index[t.to] = j
				all = append(all, t.to)
				origins = append(origins, origin{i, t.name})
				back = append(back, nil)
			}
			if t.progress {
				back[j] = append(back[j], int32(i))
			}
		}
	}
	// Whatever has happened, what happens by itself leads to an owner, as long
	// as a member is there and the model's bounds leave room for another claim.
	reaches := make([]bool, len(all))
	var queue []int
	for i, s := range all {
		if good(s) {
			reaches[i], queue = true, append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, j := range back[i] {
			if !reaches[j] {
				reaches[j], queue = true, append(queue, int(j))
			}
		}
	}
	for i, s := range all {
		if found[enough] == nil && !reaches[i] && m.hasMember(s) && max(s.rec.epoch, s.fence.epoch) < maxEpoch-1 {
			report("a shard that nobody ever serves again", i, "")
			break
		}
	}
	return found, len(all)
}

func (m model) hasMember(s modelState) bool {
	for i, n := range s.nodes[:m.world.nodes] {
		if n.stage != isGone && !n.suspended && s.member[i] {
			return true
		}
	}
	return false
}

// The worlds that the protocol has to stand. Together they visit every fault.
var (
	movesAndCrashes = world{nodes: 3, moves: 2, crashes: 1}
	lostAnswers     = world{nodes: 2, moves: 2, crashes: 1, lostAnswers: 1, lostSeals: 1}
	burials         = world{nodes: 2, moves: 2, crashes: 1, burials: 1, lostAnswers: 1}
	suspensions     = world{nodes: 2, moves: 2, crashes: 1, suspensions: 2, burials: 1}
	restorations    = world{nodes: 2, moves: 1, crashes: 1, restorations: 2}
)

func TestModelProtocolHolds(t *testing.T) {
	for name, w := range map[string]world{
		"moves and crashes": movesAndCrashes,
		"lost answers":      lostAnswers,
		"burials":           burials,
		"suspensions":       suspensions,
		"restorations":      restorations,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, states := model{whole, w}.explore("")
			t.Logf("%d states", states)
			for what, trace := range found {
				t.Errorf("%s:\n\t%s", what, strings.Join(trace, "\n\t"))
			}
			if states < 1000 {
				t.Errorf("only %d states: the model does not move", states)
			}
		})
	}
}

// Each sentence of the protocol is needed: without it, something goes wrong.
func TestModelEverySentenceIsNeeded(t *testing.T) {
	for _, tc := range []struct {
		name    string
		without sentence
		world   world
		want    string
	}{
		{"a claim compares the record", claimComparesRecord, movesAndCrashes, "a stale read"},
		{"a claim needs the owner's member key to be absent", claimNeedsDeadOwner, movesAndCrashes, "a stale read"},
		{"a released shard whose target is gone may be claimed", claimWhenTargetGone, movesAndCrashes, "a shard that nobody ever serves again"},
		{"a record that names me but that I do not serve is claimed again", claimOwnAgain, lostAnswers, "a shard that nobody ever serves again"},
		{"a seal only raises the fence", sealOnlyRaises, burials, "a commit under an epoch older than a seal"},
		{"the fence names the session", sealNamesSession, restorations, "two committers"},
		{"a refused seal claims above the fence", claimAboveFence, restorations, "a claim refused twice by one fence"},
		{"a commit compares the fence", commitComparesFence, burials, "two committers"},
		{"a shard whose record does not name me is dropped", dropWhenUnnamed, restorations, "a node that serves for ever what it has lost"},
		{"resuming needs the member key", resumeNeedsMemberKey, suspensions, "a stale read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			found, states := model{tc.without, tc.world}.explore(tc.want)
			trace, ok := found[tc.want]
			if !ok {
				t.Fatalf("without it, %d states show no %q, but %v", states, tc.want, found)
			}
			t.Logf("without it, %s:\n\t%s", tc.want, strings.Join(trace, "\n\t"))
		})
	}
}

// The model's conditions of a claim are those of the code.
func TestModelClaimsAsTheManagerDoes(t *testing.T) {
	space, err := metadata.NewSpace("test")
	if err != nil {
		t.Fatal(err)
	}
	session := func(i int8) string {
		if i == nobody {
			return ""
		}
		return fmt.Sprintf("n%d", i)
	}
	records := []modelRecord{{owner: nobody, target: nobody}}
	for owner := range int8(maxNodes) {
		records = append(records, modelRecord{owner, 1, Open, nobody}, modelRecord{owner, 1, Released, nobody})
		for target := range int8(maxNodes) {
			records = append(records, modelRecord{owner, 1, Draining, target}, modelRecord{owner, 1, Released, target})
		}
	}
	m := model{whole, world{nodes: maxNodes}}
	for _, rec := range records {
		for members := range 1 << maxNodes {
			s := m.start()
			s.rec = rec
			keys := map[string]bool{}
			for i := range maxNodes {
				s.member[i] = members&(1<<i) != 0
				keys[space.Member(session(int8(i)))] = s.member[i]
			}
			s.nodes[0] = modelNode{stage: hasRead, read: rec}
			found := rec.owner != nobody
			record := Record{Owner: session(rec.owner), Epoch: 1, Phase: rec.phase, Target: session(rec.target), Modified: 7}
			key := space.Shard("kind", 1)
			allowed := true
			compared := false
			for _, c := range claimConditions(space, state.Shard{Kind: "kind", Number: 1}, "n0", metadata.Present(space.Member("n0")), record, found) {
				switch {
				case c.Key == key:
					compared = c == metadata.Absent(key) && !found || c == metadata.ModifiedAt(key, 7) && found
				case c.Kind == metadata.CondPresent:
					allowed = allowed && keys[c.Key]
				case c.Kind == metadata.CondAbsent:
					allowed = allowed && !keys[c.Key]
				default:
					t.Errorf("an unexpected condition: %+v", c)
				}
			}
			if allowed != m.mayClaim(s, 0) || !compared {
				t.Errorf("record %+v, members %v: the manager may claim: %v, the model: %v; the record is compared: %v",
					rec, s.member, allowed, m.mayClaim(s, 0), compared)
			}
		}
	}
}
