package metatest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cajun-go/cajun/metadata"
)

func txnTests() []test {
	return []test{
		{name: "Conditions", run: testConditions},
		{name: "CreatedAtTellsLives", run: testCreatedAt},
		{name: "Unchanged", run: testUnchanged},
		{name: "AllOrNothing", run: testAllOrNothing},
		{name: "WithoutOperations", run: testWithoutOperations},
		{name: "DeleteOfNothing", run: testDeleteOfNothing},
		{name: "Refused", run: testRefused},
		{name: "MaxTxn", run: testMaxTxn},
		{name: "Model", run: testModel},
	}
}

// wantApplied commits a put under conditions and checks what came of it.
func (e *env) wantApplied(want bool, conds ...metadata.Cond) {
	e.Helper()
	const witness = "witness"
	e.delete(witness)
	r := e.commit(metadata.Txn{If: conds, Then: []metadata.Op{metadata.Put(e.key(witness), nil, 0)}})
	if r.Applied != want {
		e.Errorf("under %+v: applied %v, want %v", conds, r.Applied, want)
	}
	if _, found := e.get(witness); found != r.Applied {
		e.Errorf("under %+v: applied %v, but written %v", conds, r.Applied, found)
	}
	if r.Revision == 0 {
		e.Errorf("under %+v: no revision", conds)
	}
}

func testConditions(e *env) {
	k, none := e.key("k"), e.key("none")
	created := e.put("k", "v").Revision
	modified := e.put("k", "w").Revision

	e.wantApplied(true)
	e.wantApplied(true, metadata.Absent(none))
	e.wantApplied(false, metadata.Absent(k))
	e.wantApplied(true, metadata.Present(k))
	e.wantApplied(false, metadata.Present(none))

	e.wantApplied(true, metadata.CreatedAt(k, created))
	e.wantApplied(false, metadata.CreatedAt(k, modified))
	e.wantApplied(false, metadata.CreatedAt(k, 0))
	e.wantApplied(false, metadata.CreatedAt(k, -1))
	e.wantApplied(false, metadata.CreatedAt(none, created))
	e.wantApplied(false, metadata.CreatedAt(none, 0)) // an absent key was not created at 0

	e.wantApplied(true, metadata.ModifiedAt(k, modified))
	e.wantApplied(false, metadata.ModifiedAt(k, created))
	e.wantApplied(false, metadata.ModifiedAt(k, modified+1))
	e.wantApplied(false, metadata.ModifiedAt(k, 0))
	e.wantApplied(false, metadata.ModifiedAt(none, 0))
	e.wantApplied(false, metadata.ModifiedAt(none, -1))

	e.wantApplied(true, metadata.Present(k), metadata.Absent(none), metadata.ModifiedAt(k, modified))
	e.wantApplied(false, metadata.Present(k), metadata.Absent(none), metadata.ModifiedAt(k, created))
	e.wantApplied(false, metadata.Absent(k), metadata.Present(k))
}

func testCreatedAt(e *env) {
	k := e.key("k")
	first := e.put("k", "v").Revision
	e.put("k", "again")
	e.wantApplied(true, metadata.CreatedAt(k, first))
	gone := e.delete("k").Revision
	e.wantApplied(false, metadata.CreatedAt(k, first))
	e.wantApplied(false, metadata.CreatedAt(k, gone))
	second := e.put("k", "v").Revision
	e.wantApplied(false, metadata.CreatedAt(k, first))
	e.wantApplied(true, metadata.CreatedAt(k, second))
	if entry, _ := e.get("k"); entry.Created != second {
		e.Errorf("created at %d, want %d", entry.Created, second)
	}
}

func testUnchanged(e *env) {
	entry, found := e.get("k")
	before := metadata.Unchanged(e.key("k"), entry, found)
	e.wantApplied(true, before)
	e.put("k", "v")
	e.wantApplied(false, before)
	entry, found = e.get("k")
	before = metadata.Unchanged(e.key("k"), entry, found)
	e.wantApplied(true, before)
	e.put("k", "v") // the same value is a change, too
	e.wantApplied(false, before)
	e.delete("k")
	e.wantApplied(false, before)
}

func testAllOrNothing(e *env) {
	e.put("old", "v")
	ops := []metadata.Op{
		metadata.Put(e.key("a"), []byte("1"), 0), metadata.Put(e.key("b"), []byte("2"), 0), metadata.Delete(e.key("old")),
	}
	before := e.list("")
	if r := e.commit(metadata.Txn{If: []metadata.Cond{metadata.Absent(e.key("old"))}, Then: ops}); r.Applied {
		e.Fatal("applied against its condition")
	}
	if after := e.list(""); len(after.Entries) != len(before.Entries) {
		e.Errorf("a transaction that was not applied left %+v", after.Entries)
	}
	r := e.commit(metadata.Txn{If: []metadata.Cond{metadata.Present(e.key("old"))}, Then: ops})
	if !r.Applied {
		e.Fatal("not applied")
	}
	for _, name := range []string{"a", "b"} {
		if entry, _ := e.get(name); entry.Modified != r.Revision || entry.Created != r.Revision {
			e.Errorf("%+v is not of the transaction's revision %d", entry, r.Revision)
		}
	}
	e.wantAbsent("old")
}

func testWithoutOperations(e *env) {
	r := e.put("k", "v")
	empty := e.commit(metadata.Txn{})
	if !empty.Applied || empty.Revision < r.Revision {
		e.Errorf("the empty transaction: %+v, want it applied as of %d or later", empty, r.Revision)
	}
	if r := e.commit(metadata.Txn{If: []metadata.Cond{metadata.Present(e.key("k"))}}); !r.Applied {
		e.Error("a condition that holds, and no operation: not applied")
	}
	if r := e.commit(metadata.Txn{If: []metadata.Cond{metadata.Absent(e.key("k"))}}); r.Applied {
		e.Error("a condition that does not hold, and no operation: applied")
	}
}

func testDeleteOfNothing(e *env) {
	before := e.put("k", "v")
	if r := e.delete("none"); r.Revision < before.Revision {
		e.Errorf("revision %d after %d", r.Revision, before.Revision)
	}
	r := e.do(metadata.Delete(e.key("none")), metadata.Put(e.key("k"), []byte("w"), 0))
	w := e.watch("", before.Revision)
	events := w.events(1)
	if events[0].Deleted || events[0].Entry.Modified != r.Revision {
		e.Errorf("got %+v, want only the put", events[0])
	}
}

func testRefused(e *env) {
	k := e.key("k")
	many := make([]metadata.Op, metadata.MaxTxn+1)
	for i := range many {
		many[i] = metadata.Put(e.key(fmt.Sprint("many", i)), nil, 0)
	}
	manyConds := slices.Repeat([]metadata.Cond{metadata.Absent(k)}, metadata.MaxTxn+1)
	for name, t := range map[string]metadata.Txn{
		"two puts":            {Then: []metadata.Op{metadata.Put(k, nil, 0), metadata.Put(k, nil, 0)}},
		"a put and a delete":  {Then: []metadata.Op{metadata.Put(k, nil, 0), metadata.Delete(k)}},
		"a delete and a put":  {Then: []metadata.Op{metadata.Delete(k), metadata.Put(k, nil, 0)}},
		"two deletes":         {Then: []metadata.Op{metadata.Delete(k), metadata.Delete(k)}},
		"an empty key":        {Then: []metadata.Op{metadata.Put(k, nil, 0), metadata.Put("", nil, 0)}},
		"an empty condition":  {If: []metadata.Cond{{}}, Then: []metadata.Op{metadata.Put(k, nil, 0)}},
		"an unknown kind":     {If: []metadata.Cond{{Key: k, Kind: 99}}, Then: []metadata.Op{metadata.Put(k, nil, 0)}},
		"too many operations": {Then: many},
		"too many conditions": {If: manyConds, Then: []metadata.Op{metadata.Put(k, nil, 0)}},
	} {
		if r, err := e.store.Commit(e.Context(), t); err == nil {
			e.Errorf("%s: %+v, want an error", name, r)
		} else if errors.Is(err, metadata.ErrClosed) || errors.Is(err, metadata.ErrLeaseGone) {
			e.Errorf("%s: %v", name, err)
		}
	}
	if s := e.list(""); len(s.Entries) != 0 {
		e.Errorf("refused transactions left %+v", s.Entries)
	}
}

func testMaxTxn(e *env) {
	var t metadata.Txn
	for i := range metadata.MaxTxn {
		t.If = append(t.If, metadata.Absent(e.key(fmt.Sprint("cond", i))))
		t.Then = append(t.Then, metadata.Put(e.key(fmt.Sprint("op", i)), []byte("v"), 0))
	}
	if r := e.commit(t); !r.Applied {
		e.Fatal("not applied")
	}
	if s := e.list("op"); len(s.Entries) != metadata.MaxTxn {
		e.Errorf("%d entries, want %d", len(s.Entries), metadata.MaxTxn)
	}
	for i := range t.Then {
		t.Then[i] = metadata.Delete(t.Then[i].Key)
	}
	if r := e.commit(t); !r.Applied {
		e.Fatal("not applied")
	}
	if s := e.list(""); len(s.Entries) != 0 {
		e.Errorf("%d entries are left", len(s.Entries))
	}
}

// testModel runs random transactions in the store and in a map, which must
// agree on everything.
func testModel(e *env) {
	seed := rand.Uint64()
	e.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	model := make(map[string]metadata.Entry)
	names := []string{"a", "b", "c", "d"}
	pick := func() string { return e.key(names[random.IntN(len(names))]) }

	for step := range 200 {
		var t metadata.Txn
		want := true
		for range random.IntN(3) {
			key := pick()
			entry, found := model[key]
			revision := entry.Modified - int64(random.IntN(2))
			c := metadata.Cond{Kind: metadata.CondKind(random.IntN(4) + 1), Key: key, Revision: revision}
			t.If = append(t.If, c)
			want = want && modelHolds(c, entry, found)
		}
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for i := range random.IntN(len(names)) {
			op := metadata.Put(e.key(names[i]), []byte(fmt.Sprint(step)), 0)
			op.Delete = random.IntN(3) == 0
			t.Then = append(t.Then, op)
		}
		r := e.commit(t)
		if r.Applied != want {
			e.Fatalf("step %d: applied %v, want %v: %+v on %+v", step, r.Applied, want, t, model)
		}
		if r.Applied {
			modelApply(model, t.Then, r.Revision)
		}
		e.wantModel(model)
	}
}

// modelHolds evaluates a condition on what the model holds.
func modelHolds(c metadata.Cond, entry metadata.Entry, found bool) bool {
	switch c.Kind {
	case metadata.CondAbsent:
		return !found
	case metadata.CondPresent:
		return found
	case metadata.CondCreatedAt:
		return found && entry.Created == c.Revision
	default:
		return found && entry.Modified == c.Revision
	}
}

// modelApply carries out operations on the model.
func modelApply(model map[string]metadata.Entry, ops []metadata.Op, revision int64) {
	for _, op := range ops {
		old, found := model[op.Key]
		switch {
		case op.Delete:
			delete(model, op.Key)
		case found:
			model[op.Key] = metadata.Entry{Key: op.Key, Value: op.Value, Created: old.Created, Modified: revision}
		default:
			model[op.Key] = metadata.Entry{Key: op.Key, Value: op.Value, Created: revision, Modified: revision}
		}
	}
}

// wantModel compares the store with the model.
func (e *env) wantModel(model map[string]metadata.Entry) {
	e.Helper()
	s := e.list("")
	if len(s.Entries) != len(model) {
		e.Fatalf("the store holds %+v, the model %+v", s.Entries, model)
	}
	for _, entry := range s.Entries {
		e.wantEntry(entry, model[entry.Key])
	}
}
