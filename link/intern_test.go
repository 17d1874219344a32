package link

import (
	"fmt"
	"strings"
	"testing"
)

func TestInternerIsBounded(t *testing.T) {
	d := NewDecoder(0)
	for i := range 10_000 {
		long := strings.Repeat("l", internMax+1)
		f := Frame{Request: &Request{Key: fmt.Sprintf("key-%d", i), Kind: long}}
		got, err := d.Frame(AppendFrame(nil, &f))
		if err != nil || got.Request.Key != f.Request.Key || got.Request.Kind != long {
			t.Fatalf("%d: %+v, %v", i, got.Request, err)
		}
	}
	if len(d.names.slots) != internSlots {
		t.Errorf("%d slots", len(d.names.slots))
	}
	for _, s := range d.names.slots {
		if len(s) > internMax {
			t.Errorf("a string of %d bytes is kept", len(s))
		}
	}
}

func TestInternerSparesAllocations(t *testing.T) {
	d := NewDecoder(0)
	f := Frame{Request: &Request{ID: 1, Kind: "bank.v1.Account", Key: "k", Method: "Deposit", Payload: []byte{1}}}
	b := AppendFrame(nil, &f)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Frame(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
