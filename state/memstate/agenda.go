package memstate

import (
	"context"
	"maps"
	"slices"

	"github.com/cajun-go/cajun/state"
)

// agendas are those of one shard.
type agendas struct {
	byKey map[string]state.Agenda
	// sorted has all keys of byKey in order, and maybe some that were removed,
	// unless it is nil. It is made by the first list after a key was added, so
	// that who reads page after page does not sort all keys for each.
	sorted []string
}

func (s *Store) writeAgendaLocked(a state.Actor, agenda state.Agenda) {
	of, ok := s.agendas[a.Shard]
	if !ok {
		of = &agendas{byKey: make(map[string]state.Agenda)}
		s.agendas[a.Shard] = of
	}
	if agenda == (state.Agenda{}) {
		delete(of.byKey, a.Key)
		return
	}
	if _, there := of.byKey[a.Key]; !there {
		of.sorted = nil
	}
	of.byKey[a.Key] = agenda
}

// Agenda implements state.Store.
func (s *Store) Agenda(ctx context.Context, shard state.Shard, after string, limit int) ([]state.Entry, error) {
	unlock, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := state.CheckAgenda(shard, limit); err != nil {
		return nil, err
	}
	of, ok := s.agendas[shard]
	if !ok {
		return nil, nil
	}
	return of.list(after, limit), nil
}

func (of *agendas) list(after string, limit int) []state.Entry {
	if of.sorted == nil {
		of.sorted = slices.Sorted(maps.Keys(of.byKey))
	}
	at, found := slices.BinarySearch(of.sorted, after)
	if found {
		at++
	}
	var list []state.Entry
	for _, key := range of.sorted[at:] {
		if len(list) == limit {
			break
		}
		if agenda, ok := of.byKey[key]; ok {
			list = append(list, state.Entry{Key: key, Agenda: agenda})
		}
	}
	return list
}
