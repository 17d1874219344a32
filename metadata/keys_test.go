package metadata_test

import (
	"math"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/metadata"
)

func space(t *testing.T, cluster string) metadata.Space {
	t.Helper()
	s, err := metadata.NewSpace(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewSpaceRefuses(t *testing.T) {
	for _, name := range []string{"", "/", "a/b", "a\n", "\x00", "a\x7f", "a\u0085", "a\xff"} {
		if s, err := metadata.NewSpace(name); err == nil {
			t.Errorf("NewSpace(%q) = %v, want an error", name, s)
		}
	}
	for _, name := range []string{"c", "my cluster", "..", "größe", "a.b-c_d"} {
		if _, err := metadata.NewSpace(name); err != nil {
			t.Errorf("NewSpace(%q): %v", name, err)
		}
	}
}

func TestKeys(t *testing.T) {
	s := space(t, "c")
	for got, want := range map[string]string{
		s.Prefix():               "/cajun/c/",
		s.ClusterID():            "/cajun/c/clusterid",
		s.Leader():               "/cajun/c/leader",
		s.Members():              "/cajun/c/members/",
		s.Member("s1"):           "/cajun/c/members/s1",
		s.Kinds():                "/cajun/c/kinds/",
		s.Kind("a.v1.B"):         "/cajun/c/kinds/a.v1.B",
		s.Shards():               "/cajun/c/shards/",
		s.ShardsOf("a.v1.B"):     "/cajun/c/shards/a.v1.B/",
		s.Shard("a.v1.B", 0):     "/cajun/c/shards/a.v1.B/0",
		s.Shard("a.v1.B", 107):   "/cajun/c/shards/a.v1.B/107",
		s.Schema("s1", "a.v1.B"): "/cajun/c/schemas/s1/a.v1.B",
	} {
		if got != want {
			t.Errorf("got the key %q, want %q", got, want)
		}
	}
	// One cluster's prefix is no prefix of another's keys.
	if other := space(t, "c2"); strings.HasPrefix(other.Prefix(), s.Prefix()) {
		t.Errorf("%q begins with %q", other.Prefix(), s.Prefix())
	}
}

func TestParse(t *testing.T) {
	s := space(t, "c")
	if session, ok := s.ParseMember(s.Member("s1")); session != "s1" || !ok {
		t.Errorf("ParseMember = %q, %v", session, ok)
	}
	if identity, ok := s.ParseKind(s.Kind("a.B")); identity != "a.B" || !ok {
		t.Errorf("ParseKind = %q, %v", identity, ok)
	}
	for _, n := range []uint32{0, 7, 1023, math.MaxUint32} {
		if identity, got, ok := s.ParseShard(s.Shard("a.B", n)); identity != "a.B" || got != n || !ok {
			t.Errorf("ParseShard of shard %d = %q, %d, %v", n, identity, got, ok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	s := space(t, "c")
	for _, key := range []string{
		"", s.Shards(), s.ShardsOf("a"), s.ShardsOf("a") + "x", s.ShardsOf("a") + "-1", s.ShardsOf("a") + "+1",
		s.ShardsOf("a") + "01", s.ShardsOf("a") + "00", s.ShardsOf("a") + "4294967296", s.ShardsOf("a") + "1/2",
		s.ShardsOf("a") + "1 ", s.ShardsOf("a") + "1_0", s.ShardsOf("") + "1", s.Shards() + "1",
		space(t, "d").Shard("a", 1), s.Kind("a"), "x" + s.Shard("a", 1),
	} {
		if identity, n, ok := s.ParseShard(key); ok || identity != "" || n != 0 {
			t.Errorf("ParseShard(%q) = %q, %d, %v, want nothing", key, identity, n, ok)
		}
	}
	for _, key := range []string{"", s.Members(), s.Member("a/b"), s.Kind("a"), space(t, "d").Member("a")} {
		if session, ok := s.ParseMember(key); ok || session != "" {
			t.Errorf("ParseMember(%q) = %q, %v, want nothing", key, session, ok)
		}
	}
	if identity, ok := s.ParseKind(s.Member("a")); ok || identity != "" {
		t.Errorf("ParseKind of a member = %q, %v, want nothing", identity, ok)
	}
	var zero metadata.Space
	if _, _, ok := zero.ParseShard("shards/a/1"); ok {
		t.Error("the zero Space parses shards")
	}
	if _, ok := zero.ParseMember("members/a"); ok {
		t.Error("the zero Space parses members")
	}
}
