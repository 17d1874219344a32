package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/state"
)

// settlePause shapes the pauses between attempts to learn a commit's fate.
var settlePause = guarantee.RetryPolicy{InitialBackoff: 20 * time.Millisecond, MaxBackoff: time.Second}

// settle finds out what became of a commit that the store left open. It writes
// the old state under the version that the commit asked for: if that succeeds,
// the commit lost its place and can never apply; if the version has moved on,
// the record tells whose commit moved it. Neither needs a clock, and both hold
// however late the first write arrives.
func (a *Actor) settle(ctx context.Context, commit []byte) (applied bool, err error) {
	probe := a.journal.commitID()
	record, err := proto.Marshal(&statev1.ActorRecord{CommitId: probe, State: a.state})
	if err != nil {
		return false, unsettled(err)
	}
	for n := 1; ; n++ {
		err := a.journal.write(state.Commit{Actor: a.id, Fence: a.fence, Version: a.version, Record: record})
		conflict := new(state.ConflictError)
		switch {
		case err == nil:
			a.version++
			return false, nil
		case errors.As(err, &conflict):
			var decided bool
			if applied, decided, err = a.author(ctx, commit, probe); decided {
				return applied, err
			}
		default:
			// A refusal by the fence says that there is a new owner, but not
			// whether the commit came before it: the new owner knows.
			if _, definite := definitely(err); definite {
				return false, unsettled(err)
			}
		}
		pause := time.NewTimer(settlePause.Pause(n, rand.Float64()))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return false, unsettled(fmt.Errorf("%w while a commit was being settled: %w", context.Cause(ctx), err))
		}
	}
}

// author reads who wrote the version after a.version: the commit itself, or
// one of its probes. It reports decided as false when the store did not tell.
func (a *Actor) author(ctx context.Context, commit, probe []byte) (applied, decided bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	snapshot, err := a.journal.store.Load(ctx, a.id, a.fence)
	if err != nil {
		if fenced := new(state.FencedError); errors.As(err, &fenced) {
			return false, true, unsettled(err)
		}
		return false, false, err
	}
	record := new(statev1.ActorRecord)
	if err := proto.Unmarshal(snapshot.Record, record); err != nil {
		return false, true, unsettled(a.corrupt("record", err))
	}
	switch {
	case snapshot.Version == a.version+1 && bytes.Equal(record.GetCommitId(), commit):
		return true, true, nil
	case snapshot.Version == a.version+1 && bytes.Equal(record.GetCommitId(), probe):
		a.version++
		return false, true, nil
	}
	return false, true, unsettled(fmt.Errorf("version %d was written by somebody else under my fence", snapshot.Version))
}

// unsettled is the error of a turn whose fate this owner cannot learn.
func unsettled(err error) error {
	fenced := new(state.FencedError)
	return &Error{Outcome: guarantee.MaybeExecuted, Fenced: errors.As(err, &fenced), Err: err}
}
