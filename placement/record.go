package placement

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/metadata"
)

// Phase says where a shard stands between two owners.
type Phase uint8

const (
	// Open shards are their owner's.
	Open Phase = iota + 1
	// Draining shards are their owner's, who is asked to hand them to the
	// target.
	Draining
	// Released shards are nobody's: their last owner has let go, and the target
	// may claim them, or anyone when there is none.
	Released
)

// String returns the phase's name in lower case.
func (p Phase) String() string {
	switch p {
	case Open:
		return "open"
	case Draining:
		return "draining"
	case Released:
		return "released"
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// Record is the ownership record of one shard. The metadata store has at most
// one per shard, and whoever changes it compares Modified.
type Record struct {
	// Owner is the session that holds the shard, or held it before it was
	// released.
	Owner string
	// Epoch rises with each change of holder and is never reused.
	Epoch uint64
	Phase Phase
	// Target is the session that is to own the shard next. It is empty in an
	// Open record; in a Released one, empty means anyone.
	Target string
	// Modified is the revision that wrote the record. Encode ignores it.
	Modified int64
}

// Claimed is the record that the session by writes to take the shard. The new
// epoch is above the record's and above floor, which is the epoch of a fence
// that refused an earlier claim, or 0. The zero Record stands for none.
func (r Record) Claimed(by string, floor uint64) Record {
	return Record{Owner: by, Epoch: max(r.Epoch, floor) + 1, Phase: Open}
}

// Moving is the record that asks the owner to hand the shard to target.
func (r Record) Moving(target string) Record {
	return Record{Owner: r.Owner, Epoch: r.Epoch, Phase: Draining, Target: target}
}

// ReleasedTo is the record by which the owner lets go of the shard, in favour
// of target or, when that is empty, of anyone.
func (r Record) ReleasedTo(target string) Record {
	return Record{Owner: r.Owner, Epoch: r.Epoch, Phase: Released, Target: target}
}

// Reopened is the record by which the owner calls a move off.
func (r Record) Reopened() Record {
	return Record{Owner: r.Owner, Epoch: r.Epoch, Phase: Open}
}

// Holder is the session that the shard counts for: its owner, or its target
// while it moves, when live reports that session as a member. It is empty for an
// orphan, which counts for nobody.
func (r Record) Holder(live func(session string) bool) string {
	if r.Phase != Open && r.Target != "" && live(r.Target) {
		return r.Target
	}
	if r.Phase != Released && live(r.Owner) {
		return r.Owner
	}
	return ""
}

// Encode returns the stored form of r. It fails for a record that Decode would
// refuse.
func (r Record) Encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("placement: cannot store a shard record: %w", err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&statev1.Shard{
		Owner:  r.Owner,
		Epoch:  r.Epoch,
		Phase:  statev1.ShardPhase(r.Phase),
		Target: r.Target,
	})
}

// Decode reads a record from its entry. It refuses what no node writes; fields
// that a newer version added are let pass.
func Decode(e metadata.Entry) (Record, error) {
	var stored statev1.Shard
	if err := proto.Unmarshal(e.Value, &stored); err != nil {
		return Record{}, fmt.Errorf("placement: the shard record under %q is damaged: %w", e.Key, err)
	}
	r := Record{
		Owner:    stored.GetOwner(),
		Epoch:    stored.GetEpoch(),
		Phase:    Phase(stored.GetPhase()),
		Target:   stored.GetTarget(),
		Modified: e.Modified,
	}
	if err := r.validate(); err != nil {
		return Record{}, fmt.Errorf("placement: the shard record under %q is damaged: %w", e.Key, err)
	}
	return r, nil
}

func (r Record) validate() error {
	switch {
	case r.Owner == "":
		return errors.New("it names no owner")
	case r.Epoch == 0:
		return errors.New("it has no epoch")
	case r.Phase < Open || r.Phase > Released:
		return fmt.Errorf("its phase %d is unknown", r.Phase)
	case r.Phase == Open && r.Target != "":
		return errors.New("it is open and has a target")
	case r.Phase == Draining && r.Target == "":
		return errors.New("it is draining and has no target")
	}
	return nil
}
