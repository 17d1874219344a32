package placement

import (
	"context"
	"fmt"
	"time"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

const (
	// batchSize is how many shards go into one transaction: each brings at most
	// two conditions, and all share one, of the metadata.MaxTxn that there are.
	batchSize = 50
	// batchesAtOnce is how many such transactions may be on their way.
	batchesAtOnce = 4
	// storeTimeout bounds one request to a store.
	storeTimeout = 5 * time.Second
)

// write is a conditional change of one shard record.
type write struct {
	conds []metadata.Cond
	op    metadata.Op
	done  chan writeResult
}

type writeResult struct {
	applied  bool
	revision int64
	err      error
}

// write changes the record of a shard when conds hold, and reports whether they
// did. The record returned is as written. After an error the change may have
// been applied or may still be.
func (m *Manager) write(s state.Shard, conds []metadata.Cond, r Record) (written Record, applied bool, err error) {
	value, err := r.Encode()
	if err != nil {
		return r, false, err
	}
	w := write{
		conds: conds,
		op:    metadata.Put(m.space.Shard(s.Kind, s.Number), value, 0),
		done:  make(chan writeResult, 1),
	}
	m.writes.add(w)
	res := <-w.done
	if res.applied {
		r.Modified = res.revision
		m.learn(s, r)
	}
	return r, res.applied, res.err
}

// commit sends a group of writes as one transaction. When its conditions do not
// all hold, it is halved, until what cannot be written stands alone.
func (m *Manager) commit(group []write) {
	var txn metadata.Txn
	seen := make(map[metadata.Cond]bool)
	for _, w := range group {
		for _, c := range w.conds {
			if !seen[c] {
				seen[c] = true
				txn.If = append(txn.If, c)
			}
		}
		txn.Then = append(txn.Then, w.op)
	}
	ctx, cancel := context.WithTimeout(m.ctx, storeTimeout)
	res, err := m.store.Commit(ctx, txn)
	cancel()
	if err == nil && !res.Applied && len(group) > 1 {
		m.commit(group[:len(group)/2])
		m.commit(group[len(group)/2:])
		return
	}
	for _, w := range group {
		w.done <- writeResult{applied: err == nil && res.Applied, revision: res.Revision, err: err}
	}
}

// refresh reads the record of a shard from the store into the table.
func (m *Manager) refresh(s state.Shard) (Record, bool, error) {
	ctx, cancel := context.WithTimeout(m.ctx, storeTimeout)
	defer cancel()
	e, found, err := m.store.Get(ctx, m.space.Shard(s.Kind, s.Number))
	if err != nil || !found {
		return Record{}, false, err
	}
	r, err := Decode(e)
	if err != nil {
		return Record{}, false, err
	}
	m.learn(s, r)
	return r, true, nil
}

// learn adds a record to the table, which will not report it.
func (m *Manager) learn(s state.Shard, r Record) {
	if m.table.learn(s, r) {
		m.lookForOrphan(s, r)
	}
}

// sealing is a request to raise the fence of one shard.
type sealing struct {
	seal state.Seal
	done chan error
}

// seal raises the fence of a shard. It returns when ctx ends, and the fence may
// then still be raised: that harms nobody, as only a claim with a lower epoch
// could mind, and there is none after this one.
func (m *Manager) seal(ctx context.Context, s state.Shard, epoch uint64) error {
	if m.state == nil {
		return nil
	}
	req := sealing{state.Seal{Shard: s, Fence: state.Fence{Epoch: epoch, Session: m.me}}, make(chan error, 1)}
	m.seals.add(req)
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("placement: sealing shard %s: %w", s, context.Cause(ctx))
	}
}

// sealAll sends a group of seals, one call per kind.
func (m *Manager) sealAll(group []sealing) {
	byKind := make(map[string][]sealing)
	for _, req := range group {
		byKind[req.seal.Shard.Kind] = append(byKind[req.seal.Shard.Kind], req)
	}
	for _, reqs := range byKind {
		seals := make([]state.Seal, len(reqs))
		for i, req := range reqs {
			seals[i] = req.seal
		}
		ctx, cancel := context.WithTimeout(m.ctx, storeTimeout)
		errs := m.state.Seal(ctx, seals)
		cancel()
		for i, req := range reqs {
			req.done <- errs[i]
		}
	}
}
