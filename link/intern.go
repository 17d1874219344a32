package link

import "hash/maphash"

const (
	internSlots = 512
	internMax   = 64 // longer strings are not worth their place
)

// interner gives back the same string for the same bytes as long as nothing
// else took its slot. Streams repeat the same few kinds, methods, sessions and
// actors, so most lookups spare an allocation and a check for UTF-8; hostile
// ones cost at most internSlots*internMax bytes.
type interner struct {
	seed  maphash.Seed
	slots []string // made on first use
}

func newInterner() interner { return interner{seed: maphash.MakeSeed()} }

// text reads the field that in stands at.
func (t *interner) text(in *fields) string {
	b := in.bytes()
	if len(b) == 0 {
		return ""
	}
	if len(b) > internMax {
		in.checkText(b)
		if in.err != nil {
			return ""
		}
		return string(b)
	}
	if t.slots == nil {
		t.slots = make([]string, internSlots)
	}
	slot := &t.slots[maphash.Bytes(t.seed, b)%internSlots]
	if *slot != string(b) {
		in.checkText(b)
		if in.err != nil {
			return ""
		}
		*slot = string(b)
	}
	return *slot
}
