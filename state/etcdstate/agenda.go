package etcdstate

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/state"
)

// Agenda implements state.Store with a linearizable range read, so that it sees
// every commit that was applied before. Etcd's order is that of the escaped
// keys' bytes, which is that of the keys.
func (s *Store) Agenda(ctx context.Context, shard state.Shard, after string, limit int) ([]state.Entry, error) {
	if s.closed.Load() {
		return nil, state.ErrClosed
	}
	if err := state.CheckAgenda(shard, limit); err != nil {
		return nil, err
	}
	from, end := s.keys.agendasAfter(shard, after)
	resp, err := s.send(ctx, clientv3.OpTxn(nil,
		[]clientv3.Op{clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(int64(limit)))}, nil))
	if err != nil {
		return nil, fmt.Errorf("state: the agendas of shard %s could not be listed: %w", shard, err)
	}
	found := resp.Responses[0].GetResponseRange().Kvs
	list := make([]state.Entry, len(found))
	skip := len(s.keys.agendas(shard))
	for i, kv := range found {
		agenda, err := decodeAgenda(kv.Value)
		if err != nil {
			return nil, err
		}
		list[i] = state.Entry{Key: unescape(string(kv.Key[skip:])), Agenda: agenda}
	}
	return list, nil
}
