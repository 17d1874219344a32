package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

// ErrKindRefused says that a kind of this node does not fit what the cluster
// has. The error that wraps it names both.
var ErrKindRefused = errors.New("placement: kind refused")

// KindSpec is a kind as a node declares it.
type KindSpec struct {
	// Names are the full names that address the kind: its own first, then its
	// aliases.
	Names []string
	// Shards is into how many parts its keys are cut, from 1 to MaxShards.
	Shards int
}

// KindInfo is a kind as the cluster knows it.
type KindInfo struct {
	// Identity is the first name that the kind ever had. All keys use it.
	Identity string
	// Names are all names that address the kind, the identity included.
	Names  []string
	Shards int
}

// Register makes the cluster know the kinds of this node, and returns the
// identity of each, in order. A kind that the cluster knows under any of the
// names keeps its identity, and gets the names that it did not have yet. A kind
// whose number of shards or hash differs from the cluster's is refused, and so
// are names that belong to two kinds: the error then wraps ErrKindRefused and
// nothing of this call is written. After any other error the kinds may be
// registered or not; calling again is safe.
func Register(ctx context.Context, store metadata.Store, space metadata.Space, specs []KindSpec) ([]string, error) {
	if err := checkSpecs(specs); err != nil {
		return nil, err
	}
	// Two nodes may bring kinds at once whose names overlap, though their
	// identities do not. So every registration also writes the prefix itself,
	// and is refused when another one came between.
	guard := space.Kinds()
	for {
		snap, err := store.List(ctx, space.Kinds())
		if err != nil {
			return nil, fmt.Errorf("placement: cannot list the kinds: %w", err)
		}
		var last metadata.Entry
		known := make(map[string]*statev1.Kind)
		for _, e := range snap.Entries {
			if e.Key == guard {
				last = e
			} else if identity, ok := space.ParseKind(e.Key); ok {
				if known[identity], err = decodeKind(e); err != nil {
					return nil, err
				}
			}
		}
		identities, changed, err := match(specs, known)
		if err != nil || len(changed) == 0 {
			return identities, err
		}
		txn := metadata.Txn{
			If:   []metadata.Cond{metadata.Unchanged(guard, last, last.Key != "")},
			Then: []metadata.Op{metadata.Put(guard, nil, 0)},
		}
		for _, identity := range changed[:min(len(changed), metadata.MaxTxn-1)] {
			value, err := proto.MarshalOptions{Deterministic: true}.Marshal(known[identity])
			if err != nil {
				return nil, fmt.Errorf("placement: cannot store the kind %q: %w", identity, err)
			}
			txn.Then = append(txn.Then, metadata.Put(space.Kind(identity), value, 0))
		}
		if _, err := store.Commit(ctx, txn); err != nil {
			return nil, fmt.Errorf("placement: cannot register the kinds: %w", err)
		}
		// Applied or not, the next list tells: it finds nothing left to change,
		// or what another node wrote, or the rest of very many kinds.
	}
}

// match finds the identity of every spec among the known kinds. It adds what is
// missing to known, and returns which kinds it changed.
func match(specs []KindSpec, known map[string]*statev1.Kind) (identities, changed []string, err error) {
	owner := make(map[string]string) // of each name
	for identity, k := range known {
		for _, name := range k.GetNames() {
			owner[name] = identity
		}
	}
	for _, spec := range specs {
		identity := ""
		for _, name := range spec.Names {
			switch of, ok := owner[name]; {
			case !ok || of == identity:
			case identity == "":
				identity = of
			default:
				return nil, nil, fmt.Errorf("%w: the names %q belong to two kinds of the cluster, %q and %q: "+
					"their actors are not the same, so declare them as two kinds", ErrKindRefused, spec.Names, identity, of)
			}
		}
		if identity == "" {
			identity = spec.Names[0]
			known[identity] = &statev1.Kind{Shards: uint32(spec.Shards), Hash: HashName, Names: []string{identity}}
			owner[identity] = identity
			changed = append(changed, identity)
		}
		k := known[identity]
		if k.GetShards() != uint32(spec.Shards) || k.GetHash() != HashName {
			return nil, nil, fmt.Errorf("%w: the cluster has %q with %d shards by %s, and this node wants %d by %s: "+
				"the number is fixed for the life of the cluster's data, so set shards to %d, or use another name or cluster",
				ErrKindRefused, identity, k.GetShards(), k.GetHash(), spec.Shards, HashName, k.GetShards())
		}
		for _, name := range spec.Names {
			if owner[name] == "" {
				owner[name] = identity
				k.Names = append(k.Names, name)
				changed = append(changed, identity)
			}
		}
		identities = append(identities, identity)
	}
	slices.Sort(changed)
	return identities, slices.Compact(changed), nil
}

func checkSpecs(specs []KindSpec) error {
	seen := make(map[string]bool)
	for _, spec := range specs {
		if len(spec.Names) == 0 {
			return fmt.Errorf("%w: it has no name", ErrKindRefused)
		}
		if spec.Shards < 1 || spec.Shards > MaxShards {
			return fmt.Errorf("%w: %q wants %d shards: use 1 to %d", ErrKindRefused, spec.Names[0], spec.Shards, MaxShards)
		}
		for _, name := range spec.Names {
			if name == "" || strings.Contains(name, "/") || len(name) > state.MaxKindBytes {
				return fmt.Errorf("%w: %q is not a full proto name of 1 to %d bytes", ErrKindRefused, name, state.MaxKindBytes)
			}
			if seen[name] {
				return fmt.Errorf("%w: this node declares the name %q twice: a name or alias belongs to one kind", ErrKindRefused, name)
			}
			seen[name] = true
		}
	}
	return nil
}

func decodeKind(e metadata.Entry) (*statev1.Kind, error) {
	k := new(statev1.Kind)
	err := proto.Unmarshal(e.Value, k)
	if err == nil && (k.GetShards() < 1 || k.GetShards() > MaxShards) {
		err = fmt.Errorf("it has %d shards", k.GetShards())
	}
	if err != nil {
		return nil, fmt.Errorf("placement: the kind record under %q is damaged: %w", e.Key, err)
	}
	return k, nil
}
