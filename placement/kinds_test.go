package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
)

func newStore(t *testing.T) (*memmeta.Store, metadata.Space) {
	t.Helper()
	store := memmeta.New()
	t.Cleanup(func() { store.Close() })
	space, err := metadata.NewSpace("test")
	if err != nil {
		t.Fatal(err)
	}
	return store, space
}

func register(t *testing.T, store metadata.Store, space metadata.Space, specs ...KindSpec) []string {
	t.Helper()
	ids, err := Register(t.Context(), store, space, specs)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestRegisterKeepsTheFirstName(t *testing.T) {
	store, space := newStore(t)
	steps := []struct {
		specs []KindSpec
		want  []string
	}{
		{[]KindSpec{{[]string{"v0.Account"}, 64}, {[]string{"v0.Branch", "Office"}, 8}}, []string{"v0.Account", "v0.Branch"}},
		{[]KindSpec{{[]string{"v1.Account", "v0.Account"}, 64}}, []string{"v0.Account"}},
		{[]KindSpec{{[]string{"v2.Account", "v1.Account"}, 64}, {[]string{"Office"}, 8}}, []string{"v0.Account", "v0.Branch"}},
	}
	for _, step := range steps {
		if got := register(t, store, space, step.specs...); !slices.Equal(got, step.want) {
			t.Errorf("Register(%v) = %q, want %q", step.specs, got, step.want)
		}
	}
	table, err := NewTable(t.Context(), store, space, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for _, name := range []string{"v0.Account", "v1.Account", "v2.Account"} {
		info, ok := table.Kind(name)
		if !ok || info.Identity != "v0.Account" || info.Shards != 64 {
			t.Errorf("Kind(%q) = %+v, %v", name, info, ok)
		}
	}
	if _, ok := table.Kind("v3.Account"); ok {
		t.Error("a name that nobody declared is known")
	}
	// What is there already is not written again.
	before, _, err := store.Get(t.Context(), space.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	register(t, store, space, KindSpec{[]string{"v2.Account"}, 64})
	if after, _, _ := store.Get(t.Context(), space.Kinds()); after.Modified != before.Modified {
		t.Error("a registration without news wrote something")
	}
}

func TestRegisterRefusesOtherShards(t *testing.T) {
	store, space := newStore(t)
	register(t, store, space, KindSpec{[]string{"Account"}, 64})
	_, err := Register(t.Context(), store, space, []KindSpec{{[]string{"New"}, 8}, {[]string{"v1.Account", "Account"}, 65}})
	if !errors.Is(err, ErrKindRefused) || !strings.Contains(err.Error(), "64") || !strings.Contains(err.Error(), "65") {
		t.Errorf("Register = %v, want a refusal that names both numbers", err)
	}
	if _, found, _ := store.Get(t.Context(), space.Kind("New")); found {
		t.Error("a refused call has written a kind")
	}
}

func TestRegisterRefusesAnotherHash(t *testing.T) {
	store, space := newStore(t)
	register(t, store, space, KindSpec{[]string{"Account"}, 64})
	entry, _, err := store.Get(t.Context(), space.Kind("Account"))
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(entry.Value), HashName, "other64*", 1)
	if _, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(entry.Key, []byte(other), 0)}}); err != nil {
		t.Fatal(err)
	}
	_, err = Register(t.Context(), store, space, []KindSpec{{[]string{"Account"}, 64}})
	if !errors.Is(err, ErrKindRefused) || !strings.Contains(err.Error(), "other64*") || !strings.Contains(err.Error(), HashName) {
		t.Errorf("Register = %v, want a refusal that names both hashes", err)
	}
}

func TestRegisterRefusesNames(t *testing.T) {
	store, space := newStore(t)
	register(t, store, space, KindSpec{[]string{"A"}, 4}, KindSpec{[]string{"B", "alias"}, 4})
	for name, specs := range map[string][]KindSpec{
		"a name of two identities": {{[]string{"C", "A", "alias"}, 4}},
		"a name declared twice":    {{[]string{"C", "D"}, 4}, {[]string{"D"}, 4}},
		"no name":                  {{nil, 4}},
		"a path as a name":         {{[]string{"a/b"}, 4}},
		"no shards":                {{[]string{"C"}, 0}},
		"too many shards":          {{[]string{"C"}, MaxShards + 1}},
	} {
		if ids, err := Register(t.Context(), store, space, specs); !errors.Is(err, ErrKindRefused) {
			t.Errorf("%s: Register = %q, %v", name, ids, err)
		}
	}
}

// Two nodes bring kinds at the same moment whose names overlap, though their
// own names differ: they get one identity.
func TestRegisterRace(t *testing.T) {
	store, space := newStore(t)
	var once sync.Once
	slow := commitHook{store, func() {
		once.Do(func() { register(t, store, space, KindSpec{[]string{"v1.Account", "v0.Account"}, 64}) })
	}}
	if got := register(t, slow, space, KindSpec{[]string{"v0.Account"}, 64}); got[0] != "v1.Account" {
		t.Errorf("the slower node uses %q, want the identity that the faster one has written", got)
	}
	if _, found, _ := store.Get(t.Context(), space.Kind("v0.Account")); found {
		t.Error("one name has become two kinds")
	}
}

// commitHook does something before each Commit.
type commitHook struct {
	metadata.Store
	before func()
}

func (h commitHook) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	h.before()
	return h.Store.Commit(ctx, t)
}

// More kinds than fit into one transaction.
func TestRegisterVeryManyKinds(t *testing.T) {
	store, space := newStore(t)
	var specs []KindSpec
	for i := range 300 {
		specs = append(specs, KindSpec{[]string{fmt.Sprintf("Kind%d", i)}, 1})
	}
	if got := register(t, store, space, specs...); len(got) != 300 || got[299] != "Kind299" {
		t.Errorf("Register = %q", got)
	}
}
