package member

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/metadata"
)

func TestMemberRoundTrip(t *testing.T) {
	m := Member{
		Session: "s", Name: "n", Address: "a:1", Gateway: "g:2", Version: "v", Draining: true, Weight: 2.5,
		Kinds:   map[string][]string{"x": {"A", "B"}, "y": nil, "z": {"C"}},
		Created: 3, Modified: 4, Lease: 5,
	}
	value, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := m.Encode(); !bytes.Equal(again, value) {
			t.Fatal("equal members encode differently")
		}
	}
	newer := protowire.AppendTag(value, 1000, protowire.VarintType) // of a version to come
	newer = protowire.AppendVarint(newer, 1)
	got, err := Decode("s", metadata.Entry{Value: newer, Created: 3, Modified: 4, Lease: 5})
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const up = statev1.MemberPhase_MEMBER_PHASE_UP
	for name, rec := range map[string]*statev1.Member{
		"no session":      {Phase: up},
		"other session":   {Session: "t", Phase: up},
		"no phase":        {Session: "s"},
		"unknown phase":   {Session: "s", Phase: 99},
		"negative weight": {Session: "s", Phase: up, Weight: -1},
		"NaN weight":      {Session: "s", Phase: up, Weight: math.NaN()},
		"endless weight":  {Session: "s", Phase: up, Weight: math.Inf(1)},
		"client hosts":    {Session: "s", Phase: up, ClientOnly: true, Kinds: []*statev1.HostedKind{{Identity: "k"}}},
		"nameless kind":   {Session: "s", Phase: up, Kinds: []*statev1.HostedKind{{}}},
		"kind twice":      {Session: "s", Phase: up, Kinds: []*statev1.HostedKind{{Identity: "k"}, {Identity: "k"}}},
		"a path":          {Session: "s/t", Phase: up},
	} {
		value, err := proto.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		session := "s"
		if name == "a path" {
			session = rec.GetSession()
		}
		if m, err := Decode(session, metadata.Entry{Value: value}); err == nil {
			t.Errorf("%s: decoded %+v", name, m)
		}
	}
	if _, err := Decode("s", metadata.Entry{Value: []byte{0xff}}); err == nil {
		t.Error("garbage: decoded")
	}
}
