// Package member is who is alive. A node joins the cluster with a Session: one
// life of the node, bound to one lease in the metadata store. The Session says
// on every call whether the node may still act; a View shows everybody's
// sessions; Bury removes the session of a process that is known to be dead.
package member

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/metadata"
)

// Member is one session as the metadata store shows it. Treat Kinds as
// read-only: snapshots share it.
type Member struct {
	// Session names this life of the node; a restarted node is a new session.
	Session string
	// Name is the human's name for the node.
	Name string
	// Address is where its link listens, Gateway where its gateway does. Both
	// may be empty.
	Address, Gateway string
	// Kinds maps the identity of each kind that the node can run to the
	// methods that it knows of that kind, in the order of strings.
	Kinds map[string][]string
	// Version is the framework's version on that node.
	Version string
	// Draining says that the node is handing its shards over and takes no new
	// ones.
	Draining bool
	// Weight is its share of the shards relative to other nodes; 0 counts as 1.
	Weight float64
	// ClientOnly nodes call, but host nothing and never lead.
	ClientOnly bool

	// Created and Modified are the revisions of the member key. Created
	// identifies the session in conditions.
	Created, Modified int64
	// Lease is what the member key is bound to.
	Lease metadata.LeaseID
}

// Hosts reports whether the node can run the kind with this identity. Whether
// it takes new shards is another matter: see Draining.
func (m Member) Hosts(kind string) bool {
	_, ok := m.Kinds[kind]
	return ok
}

// Knows reports whether the node can run this method of the kind. Of a kind that
// the record does not have, nothing is known, and what the node says counts.
func (m Member) Knows(kind, method string) bool {
	methods, ok := m.Kinds[kind]
	if !ok {
		return true
	}
	_, found := slices.BinarySearch(methods, method)
	return found
}

// Encode returns the stored form of m, without its revisions and lease, which
// the store keeps. Equal members have equal forms.
func (m Member) Encode() ([]byte, error) {
	rec := &statev1.Member{
		Session:    m.Session,
		Name:       m.Name,
		Address:    m.Address,
		Gateway:    m.Gateway,
		Version:    m.Version,
		Phase:      statev1.MemberPhase_MEMBER_PHASE_UP,
		Weight:     m.Weight,
		ClientOnly: m.ClientOnly,
	}
	if m.Draining {
		rec.Phase = statev1.MemberPhase_MEMBER_PHASE_DRAINING
	}
	for _, kind := range slices.Sorted(maps.Keys(m.Kinds)) {
		rec.Kinds = append(rec.Kinds, &statev1.HostedKind{Identity: kind, Methods: m.Kinds[kind]})
	}
	if err := validate(rec); err != nil {
		return nil, fmt.Errorf("member: cannot store the record of session %q: %w", m.Session, err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(rec)
}

// Decode reads the record of a session from its entry. It refuses what no node
// writes; fields that a newer version added are let pass.
func Decode(session string, e metadata.Entry) (Member, error) {
	var rec statev1.Member
	err := proto.Unmarshal(e.Value, &rec)
	if err == nil {
		err = validate(&rec)
	}
	if err == nil && rec.GetSession() != session {
		err = fmt.Errorf("it names the session %q", rec.GetSession())
	}
	if err != nil {
		return Member{}, fmt.Errorf("member: the record of session %q is damaged: %w", session, err)
	}
	m := Member{
		Session:    session,
		Name:       rec.GetName(),
		Address:    rec.GetAddress(),
		Gateway:    rec.GetGateway(),
		Kinds:      make(map[string][]string, len(rec.GetKinds())),
		Version:    rec.GetVersion(),
		Draining:   rec.GetPhase() == statev1.MemberPhase_MEMBER_PHASE_DRAINING,
		Weight:     rec.GetWeight(),
		ClientOnly: rec.GetClientOnly(),
		Created:    e.Created,
		Modified:   e.Modified,
		Lease:      e.Lease,
	}
	for _, k := range rec.GetKinds() {
		m.Kinds[k.GetIdentity()] = k.GetMethods()
	}
	return m, nil
}

func validate(rec *statev1.Member) error {
	if rec.GetSession() == "" || strings.Contains(rec.GetSession(), "/") {
		return fmt.Errorf("%q is no name for a session: it must be one element of a path", rec.GetSession())
	}
	switch rec.GetPhase() {
	case statev1.MemberPhase_MEMBER_PHASE_UP, statev1.MemberPhase_MEMBER_PHASE_DRAINING:
	default:
		return fmt.Errorf("its phase %v is unknown", rec.GetPhase())
	}
	if w := rec.GetWeight(); w < 0 || math.IsNaN(w) || math.IsInf(w, 0) {
		return fmt.Errorf("its weight %v is no finite number of 0 or more", w)
	}
	if rec.GetClientOnly() && len(rec.GetKinds()) > 0 {
		return errors.New("it only calls and yet hosts kinds")
	}
	seen := make(map[string]bool, len(rec.GetKinds()))
	for _, k := range rec.GetKinds() {
		if k.GetIdentity() == "" || seen[k.GetIdentity()] {
			return fmt.Errorf("the kind %q is nameless or listed twice", k.GetIdentity())
		}
		seen[k.GetIdentity()] = true
	}
	return nil
}
