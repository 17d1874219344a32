//go:build unix

package failpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	failpointv1 "github.com/cajun-go/cajun/crashtest/gen/failpoint/v1"
)

// fate is what the caller of one call knows of it.
type fate uint8

const (
	perhaps fate = iota
	never
	happened
)

// books are what callers were told, and what they were told wrong.
type books struct {
	mu sync.Mutex
	// entries are by scribe and name.
	entriesOf map[string]map[string]fate
	// chains are entries of which all scribes have one, or none has.
	chains []chained
	// least is how many notes of a sender were acknowledged.
	least map[pair]uint64
	// outside are the notes of senders that are no scribes: which of them were
	// acknowledged, by number.
	outside  map[pair][]bool
	mistakes []string
}

type chained struct {
	name    string
	scribes []string
}

// pair is a receiver of notes and their sender.
type pair struct{ to, from string }

func newBooks() *books {
	return &books{entriesOf: make(map[string]map[string]fate), least: make(map[pair]uint64), outside: make(map[pair][]bool)}
}

// wrong notes what a caller should not have been told.
func (b *books) wrong(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mistakes) < 20 {
		b.mistakes = append(b.mistakes, fmt.Sprintf(format, args...))
	}
}

func (b *books) entry(scribe, name string, f fate) { b.entries([]string{scribe}, name, f) }

func (b *books) entries(scribes []string, name string, f fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range scribes {
		if b.entriesOf[s] == nil {
			b.entriesOf[s] = make(map[string]fate)
		}
		b.entriesOf[s][name] = f
	}
}

// together notes that a chain is about to be called.
func (b *books) together(name string, scribes []string) {
	b.entries(scribes, name, perhaps)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chains = append(b.chains, chained{name, scribes})
}

// posted notes the answer to a post.
func (b *books) posted(scribe string, req *failpointv1.PostRequest, reply *failpointv1.PostReply) {
	b.entry(scribe, req.GetName(), happened)
	b.rings(scribe, req.GetName(), req.GetWitness())
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, to := range req.GetTo() {
		p := pair{to, scribe}
		b.least[p] = max(b.least[p], reply.GetLast()[i])
	}
}

// rings notes that a timer was set that will ring once.
func (b *books) rings(scribe, name, witness string) {
	b.entry(scribe, ringOf(name), happened)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.least[pair{witness, scribe}]++
}

// number gives the next note from outside its number.
func (b *books) number(to, from string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := pair{to, from}
	b.outside[p] = append(b.outside[p], false)
	return uint64(len(b.outside[p]))
}

// noted notes that a note from outside was acknowledged.
func (b *books) noted(to, from string, number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outside[pair{to, from}][number-1] = true
}

// receivers are the scribes that only get notes, and scribes are all of them.
func (b *books) receivers() map[string]bool {
	all := make(map[string]bool)
	for p := range b.least {
		all[p.to] = true
	}
	for p := range b.outside {
		all[p.to] = true
	}
	return all
}

func (b *books) scribes() map[string]bool {
	all := b.receivers()
	for p := range b.least {
		all[p.from] = true
	}
	for s := range b.entriesOf {
		all[s] = true
	}
	return all
}

// complaint says what is not as it must be. One that is not final may only need
// time.
type complaint struct {
	text    string
	scribes []string
	final   bool
}

// check compares the books with what scribes have written down.
func (b *books) check(read map[string]*failpointv1.ScribeState) (all []complaint) {
	complain := func(final bool, scribes []string, format string, args ...any) {
		all = append(all, complaint{fmt.Sprintf(format, args...), scribes, final})
	}
	for key, s := range read {
		for _, f := range s.GetFaults() {
			complain(true, nil, "%s says: %s", key, f)
		}
		b.checkEntries(key, s, complain)
		b.checkNotes(key, s, complain)
		for to, sent := range s.GetSent() {
			if r := read[to]; r != nil && uint64(len(r.GetNotes()[key].GetNumbers())) != sent {
				complain(false, []string{key, to}, "%s has sent %d notes to %s, who got %v", key, sent, to, r.GetNotes()[key].GetNumbers())
			}
		}
	}
	for _, c := range b.chains {
		var times []uint32
		for _, s := range c.scribes {
			if read[s] != nil {
				times = append(times, read[s].GetEntries()[c.name])
			}
		}
		if len(times) == len(c.scribes) && slices.Min(times) != slices.Max(times) {
			complain(false, c.scribes, "chain %s of %v took effect %v times", c.name, c.scribes, times)
		}
	}
	return all
}

type complainer func(final bool, scribes []string, format string, args ...any)

func (b *books) checkEntries(key string, s *failpointv1.ScribeState, complain complainer) {
	for name, times := range s.GetEntries() {
		switch f, known := b.entriesOf[key][name]; {
		case !known:
			complain(true, nil, "%s has an entry %s that nobody made", key, name)
		case times > 1:
			complain(true, nil, "%s has the entry %s %d times", key, name, times)
		case f == never:
			complain(true, nil, "%s has the entry %s, whose caller was told that it has not", key, name)
		}
	}
	for name, f := range b.entriesOf[key] {
		if f == happened && s.GetEntries()[name] == 0 {
			complain(false, []string{key}, "%s lacks the entry %s, which was acknowledged", key, name)
		}
	}
}

func (b *books) checkNotes(key string, s *failpointv1.ScribeState, complain complainer) {
	for from, notes := range s.GetNotes() {
		numbers := notes.GetNumbers()
		acknowledged, outside := b.outside[pair{key, from}]
		for i, n := range numbers {
			if i > 0 && n <= numbers[i-1] || !outside && n != uint64(i+1) {
				complain(true, nil, "%s got the notes %v of %s", key, numbers, from)
				break
			}
		}
		if outside && len(numbers) > len(acknowledged) {
			complain(true, nil, "%s got %d notes of %s, who has sent %d", key, len(numbers), from, len(acknowledged))
		}
	}
	for p, least := range b.least {
		if got := s.GetNotes()[p.from].GetNumbers(); p.to == key && uint64(len(got)) < least {
			complain(false, []string{key}, "%s got the notes %v of %s, where %d were acknowledged", key, got, p.from, least)
		}
	}
	for p, acknowledged := range b.outside {
		if p.to != key {
			continue
		}
		got := s.GetNotes()[p.from].GetNumbers()
		for i, was := range acknowledged {
			if was && !slices.Contains(got, uint64(i+1)) {
				complain(false, []string{key}, "%s got the notes %v of %s, where %d was acknowledged", key, got, p.from, i+1)
			}
		}
	}
}

// texts are the words of complaints, each once.
func texts(all []complaint) []string {
	words := make(map[string]bool)
	for _, c := range all {
		words[c.text] = true
	}
	return slices.SortedFunc(maps.Keys(words), strings.Compare)
}
