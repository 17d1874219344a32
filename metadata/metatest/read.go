package metatest

import (
	"slices"

	"github.com/cajun-go/cajun/metadata"
)

func readTests() []test {
	return []test{
		{name: "Get", run: testGet},
		{name: "EmptyKeyAndValue", run: testEmpty},
		{name: "ListOrder", run: testListOrder},
		{name: "ListPrefixes", run: testListPrefixes},
		{name: "ListRevision", run: testListRevision},
		{name: "ValuesAreCopies", run: testValuesAreCopies},
	}
}

func testGet(e *env) {
	e.wantAbsent("k")
	first := e.put("k", "one")
	second := e.put("k", "two")
	if second.Revision <= first.Revision {
		e.Errorf("revisions %d, then %d: they must rise", first.Revision, second.Revision)
	}
	entry, found := e.get("k")
	if !found {
		e.Fatal("the key is missing")
	}
	e.wantEntry(entry, metadata.Entry{
		Key: e.key("k"), Value: []byte("two"), Created: first.Revision, Modified: second.Revision,
	})
	e.delete("k")
	e.wantAbsent("k")
}

func testEmpty(e *env) {
	e.put("k", "")
	if entry, found := e.get("k"); !found || len(entry.Value) != 0 {
		e.Errorf("an empty value reads as %+v, found %v", entry, found)
	}
	if s := e.list("k"); len(s.Entries) != 1 {
		e.Errorf("an empty value lists as %+v", s.Entries)
	}
	if _, found, err := e.store.Get(e.Context(), ""); found || err != nil {
		e.Errorf("Get of the empty key: found %v, %v", found, err)
	}
}

// oddKeys are keys on which the end of a prefix is easy to get wrong, sorted.
func oddKeys() []string {
	return []string{
		"a", "a\x00", "a/", "a/b", "a\xfe", "a\xff", "a\xff\x00", "a\xff\xff", "a\xff\xffz", "b", "\xff", "\xff\xff",
	}
}

func testListOrder(e *env) {
	want := oddKeys()
	for _, i := range []int{7, 2, 11, 0, 9, 4, 10, 1, 6, 3, 8, 5} {
		e.put(want[i], want[i])
	}
	var got []string
	for _, entry := range e.list("").Entries {
		got = append(got, entry.Key[len(e.prefix):])
		if string(entry.Value) != entry.Key[len(e.prefix):] {
			e.Errorf("the key %q has the value %q", entry.Key, entry.Value)
		}
	}
	if !slices.Equal(got, want) {
		e.Errorf("List = %q, want %q", got, want)
	}
}

func testListPrefixes(e *env) {
	for _, key := range oddKeys() {
		e.put(key, "v")
	}
	for prefix, want := range map[string][]string{
		"a":         {"a", "a\x00", "a/", "a/b", "a\xfe", "a\xff", "a\xff\x00", "a\xff\xff", "a\xff\xffz"},
		"a/":        {"a/", "a/b"},
		"a\xff":     {"a\xff", "a\xff\x00", "a\xff\xff", "a\xff\xffz"},
		"a\xff\xff": {"a\xff\xff", "a\xff\xffz"},
		"\xff":      {"\xff", "\xff\xff"},
		"\xff\xff":  {"\xff\xff"},
		"c":         nil,
		"a/b/":      nil,
	} {
		var got []string
		for _, entry := range e.list(prefix).Entries {
			got = append(got, entry.Key[len(e.prefix):])
		}
		if !slices.Equal(got, want) {
			e.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	all, err := e.store.List(e.Context(), "")
	if err != nil {
		e.Fatalf("List of everything: %v", err)
	}
	if !slices.ContainsFunc(all.Entries, func(x metadata.Entry) bool { return x.Key == e.key("\xff\xff") }) {
		e.Error("List of everything misses a key")
	}
}

func testListRevision(e *env) {
	r := e.put("k", "v")
	empty := e.list("nothing")
	if empty.Revision < r.Revision {
		e.Errorf("an empty List is of revision %d, before the latest write's %d", empty.Revision, r.Revision)
	}
	later := e.put("k", "w")
	s := e.list("k")
	if s.Revision < later.Revision || len(s.Entries) != 1 {
		e.Fatalf("List = %+v, want one entry as of %d or later", s, later.Revision)
	}
	e.wantEntry(s.Entries[0], metadata.Entry{
		Key: e.key("k"), Value: []byte("w"), Created: r.Revision, Modified: later.Revision,
	})
}

func testValuesAreCopies(e *env) {
	value := []byte("abc")
	e.do(metadata.Put(e.key("k"), value, 0))
	value[0] = 'X'
	e.wantValue("k", "abc")
	entry, _ := e.get("k")
	entry.Value[0] = 'Y'
	e.wantValue("k", "abc")
	e.list("k").Entries[0].Value[0] = 'Z'
	e.wantValue("k", "abc")
}
