package etcdstate

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/state"
)

// etcd takes 128 conditions and 128 operations per branch in a transaction
// (max-txn-ops), less what the levels above a nested one use.
const (
	// maxOps is how many conditions or operations the outer level gets: a
	// fence and a record for each commit.
	maxOps = 2 * maxCommits
	// maxNested is what remains for each transaction nested in it.
	maxNested  = 128 - maxOps
	maxCommits = 60
	// maxRows fits by far (the outer level has room for 60 nested
	// transactions of 8); the size of the keys limits it, as each row carries
	// its actor's key.
	maxRows  = 120
	maxBytes = 1 << 20
	// maxRequest is etcd's default max-request-bytes, less some room for the
	// envelope that etcd puts around a transaction.
	maxRequest = 1536<<10 - 4<<10
)

// Limits implements state.Store. They hold for etcd's default settings. What
// is within them is below etcd's request size too, even when every key has
// its full length and must be escaped throughout.
func (s *Store) Limits() state.Limits { return limits() }

func limits() state.Limits {
	return state.Limits{Commits: maxCommits, Rows: maxRows, Bytes: maxBytes}
}

// Commit implements state.Store with one transaction, which is sent once.
//
// An actor's version is etcd's own version of the record's key: the number of
// puts since the key was created, and 0 while there is none. Each commit puts
// the record exactly once and nothing else does, so the version counts
// commits; and because no record is ever deleted, the count never starts
// again, and a commit for version 0 that is delayed however long cannot meet
// an absent record twice. Should records become deletable one day, a version
// inside the value must replace this. A snapshot restored by etcdctl keeps
// the versions; a key-by-key copy does not, which is harmless as nothing
// outlives a node that refers to them.
func (s *Store) Commit(ctx context.Context, commits []state.Commit) error {
	if s.closed.Load() {
		return state.ErrClosed
	}
	if err := limits().Check(commits); err != nil {
		return err
	}
	if len(commits) == 0 {
		return nil
	}
	p := s.plan(commits)
	if p.size > maxRequest {
		return fmt.Errorf("%w: the request has %d bytes with its overhead, of at most %d", state.ErrTooLarge, p.size, maxRequest)
	}
	resp, err := s.send(ctx, p.txn())
	if err != nil {
		return fmt.Errorf("state: the commit may or may not have been applied: %w", err)
	}
	if resp.Succeeded {
		return nil
	}
	return p.refusal(commits, resp.Responses)
}

// plan is one transaction in the making.
type plan struct {
	conds []clientv3.Cmp
	// records and rows, agendas among them, are written when all conds hold;
	// otherwise reads tell which of them did not.
	records, rows, reads []clientv3.Op
	// fenceAt and recordAt are where in reads a shard's fence and a commit's
	// record are.
	fenceAt  map[state.Shard]int
	recordAt []int
	// size is at least the size of the encoded request.
	size int
}

// opOverhead is at least what the encoding adds to the keys and values of a
// condition or an operation: tags, lengths and small fields.
const opOverhead = 32

func (s *Store) plan(commits []state.Commit) *plan {
	type claim struct {
		shard state.Shard
		fence state.Fence
	}
	p := &plan{
		conds:    make([]clientv3.Cmp, 0, 2*len(commits)),
		records:  make([]clientv3.Op, 0, len(commits)),
		reads:    make([]clientv3.Op, 0, 2*len(commits)),
		fenceAt:  make(map[state.Shard]int),
		recordAt: make([]int, len(commits)),
	}
	claims := make(map[claim]struct{})
	for i := range commits {
		c := &commits[i]
		shard := c.Actor.Shard
		if _, done := claims[claim{shard, c.Fence}]; !done {
			claims[claim{shard, c.Fence}] = struct{}{}
			p.compareFence(s.keys.fence(shard), shard, c.Fence)
		}
		p.recordAt[i] = len(p.reads)
		p.write(s.keys.record(c.Actor), c)
		if c.Agenda != nil {
			p.writeAgenda(s.keys.agenda(c.Actor), *c.Agenda)
		}
	}
	return p
}

func (p *plan) compareFence(key string, shard state.Shard, fence state.Fence) {
	want := encodeFence(fence)
	p.conds = append(p.conds, clientv3.Compare(clientv3.Value(key), "=", want))
	p.size += len(key) + len(want) + opOverhead
	if _, read := p.fenceAt[shard]; !read {
		p.fenceAt[shard] = len(p.reads)
		p.reads = append(p.reads, clientv3.OpGet(key))
		p.size += len(key) + opOverhead
	}
}

func (p *plan) write(record string, c *state.Commit) {
	p.conds = append(p.conds, clientv3.Compare(clientv3.Version(record), "=", int64(c.Version)))
	p.reads = append(p.reads, clientv3.OpGet(record, clientv3.WithKeysOnly()))
	p.records = append(p.records, put(record, c.Record))
	p.size += 3*(len(record)+opOverhead) + len(c.Record)
	for _, r := range c.Put {
		p.rows = append(p.rows, put(record+r.Name, r.Value))
		p.size += len(record) + len(r.Name) + len(r.Value) + opOverhead
	}
	for _, name := range c.Delete {
		p.rows = append(p.rows, clientv3.OpDelete(record+name))
		p.size += len(record) + len(name) + opOverhead
	}
}

func (p *plan) writeAgenda(key string, agenda state.Agenda) {
	p.size += len(key) + agendaSize + opOverhead
	if agenda == (state.Agenda{}) {
		p.rows = append(p.rows, clientv3.OpDelete(key))
		return
	}
	p.rows = append(p.rows, put(key, encodeAgenda(agenda)))
}

// txn is the whole transaction. Rows for which the outer level has no room
// are written by nested transactions without conditions, which are as atomic.
func (p *plan) txn() clientv3.Op {
	writes := p.records
	if len(p.records)+len(p.rows) <= maxOps {
		writes = append(writes, p.rows...)
	} else {
		for rows := p.rows; len(rows) > 0; {
			n := min(len(rows), maxNested)
			writes = append(writes, clientv3.OpTxn(nil, rows[:n], nil))
			rows = rows[n:]
		}
	}
	return clientv3.OpTxn(p.conds, writes, p.reads)
}

// refusal finds the first commit whose conditions did not hold in what the
// refused transaction itself has read.
func (p *plan) refusal(commits []state.Commit, reads []*pb.ResponseOp) error {
	for i := range commits {
		c := &commits[i]
		fence := value(reads[p.fenceAt[c.Actor.Shard]].GetResponseRange())
		if fence == nil || string(fence) != encodeFence(c.Fence) {
			return fenced(c.Actor.Shard, fence)
		}
		var version int64
		if kvs := reads[p.recordAt[i]].GetResponseRange().Kvs; len(kvs) > 0 {
			version = kvs[0].Version
		}
		if version != int64(c.Version) {
			return &state.ConflictError{Actor: c.Actor, Expected: c.Version}
		}
	}
	return errors.New("state: etcd refused a commit whose conditions all hold")
}

// put is clientv3.OpPut without a copy of the value.
func put(key string, value []byte) clientv3.Op {
	op := clientv3.OpPut(key, "")
	op.WithValueBytes(value)
	return op
}
