package cajun

import (
	"context"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/member"
)

const (
	// schemaTimeout bounds the reading of a kind's schema, from however many members.
	schemaTimeout = 5 * time.Second
	// schemaPause is how long what could not be read is not read again.
	schemaPause = time.Second
)

// kinds are the kinds of the cluster as this node knows them by descriptor. It
// holds one entry at most per name of a kind that a live node hosts.
type kinds struct {
	mu    sync.Mutex
	known map[string]*knownKind
}

// knownKind is a kind under one of its names, and the session that told it.
type knownKind struct {
	identity, session string
	kind              *DynamicKind
	fail              *failure
	// generation is that of the members for which it was looked up, and again
	// when it is to be looked up anew even so; zero is never.
	generation uint64
	again      time.Time
	// loading is closed when a look-up that is under way has ended.
	loading chan struct{}
}

// fresh reports whether the entry holds for the members of now.
func (k *knownKind) fresh(generation uint64) bool {
	return k.generation == generation && (k.again.IsZero() || time.Now().Before(k.again))
}

// Kind returns the kind that a full name or an alias addresses, as the newest
// live node that hosts it describes it, of those that have all its methods; a kind that this node hosts is as its
// own generated code has it. The same value is returned as long as nothing
// changes; for a moment after a change, and while the store cannot be read, it is
// the one before. A name that no node has ever hosted is NotFound, and a kind
// that no live node hosts, or whose schema cannot be read now, is Unavailable.
// ctx bounds the reading.
func (n *Node) Kind(ctx context.Context, name string) (*DynamicKind, error) {
	info, ok := n.table.Kind(name)
	if !ok {
		return nil, refuse(connect.CodeNotFound, "no node of cluster %q has ever hosted the kind %s: start one with its Host option", n.config.cluster, name).err()
	}
	for {
		members := n.view.Snapshot()
		n.kinds.mu.Lock()
		k := n.kinds.known[name]
		if k != nil && k.loading == nil && k.fresh(members.Generation()) {
			kind, fail := k.kind, k.fail
			n.kinds.mu.Unlock()
			if kind != nil {
				return kind, nil
			}
			return nil, fail.err()
		}
		loading := n.kinds.load(n, k, name, info.Identity, members)
		var known *DynamicKind
		if k != nil {
			known = k.kind
		}
		n.kinds.mu.Unlock()
		if known != nil && hosted(info.Identity, members) {
			return known, nil // calls do not wait for the store whenever a member comes or goes
		}
		select {
		case <-loading:
		case <-ctx.Done():
			return nil, interrupted(causeOf(ctx), guarantee.NotExecuted, "while the schema of "+name+" was read").err()
		case <-n.ctx.Done():
			return nil, refuse(connect.CodeUnavailable, "node %s is closed", n.Name()).err()
		}
	}
}

// load begins to look a kind up, unless that is under way, and returns a channel
// that is closed when it is done. s.mu is held.
func (s *kinds) load(n *Node, k *knownKind, name, identity string, members *member.Snapshot) <-chan struct{} {
	if k != nil && k.loading != nil {
		return k.loading
	}
	if s.known == nil {
		s.known = make(map[string]*knownKind)
	}
	if k == nil {
		s.prune(members)
		k = &knownKind{identity: identity}
		s.known[name] = k
	}
	loading := make(chan struct{})
	k.loading = loading
	before := *k
	n.tasks.Go(func() {
		after := n.lookUp(before, name, members)
		s.mu.Lock()
		defer s.mu.Unlock()
		after.generation, after.loading = members.Generation(), nil
		*k = after
		close(loading)
	})
	return loading
}

// prune drops what no live node hosts any more. s.mu is held.
func (s *kinds) prune(members *member.Snapshot) {
	for name, k := range s.known {
		if k.loading == nil && !hosted(k.identity, members) {
			delete(s.known, name)
		}
	}
}

// hosted reports whether a live member hosts a kind.
func hosted(identity string, members *member.Snapshot) bool {
	return slices.ContainsFunc(members.Live(), func(m member.Member) bool { return m.Hosts(identity) })
}

// describers are the live members that host a kind, first those that know every
// method which any of them knows, and otherwise the newest first. So a node of an
// older generation that starts while others are upgraded takes no method away.
func describers(identity string, members *member.Snapshot) []member.Member {
	var hosts []member.Member
	all := make(map[string]bool)
	for _, m := range slices.Backward(members.Live()) {
		if methods, ok := m.Kinds[identity]; ok {
			hosts = append(hosts, m)
			for _, name := range methods {
				all[name] = true
			}
		}
	}
	lacks := func(m member.Member) int { return min(1, len(all)-len(m.Kinds[identity])) }
	slices.SortStableFunc(hosts, func(a, b member.Member) int { return lacks(a) - lacks(b) })
	return hosts
}

// lookUp finds out what a kind looks like now.
func (n *Node) lookUp(k knownKind, name string, members *member.Snapshot) knownKind {
	k.again, k.fail = time.Time{}, nil
	if h, ok := n.hosted[k.identity]; ok {
		if k.kind == nil {
			k.kind, k.fail = hostedDynamic(h, name)
		}
		return k
	}
	var trouble *failure
	ctx, cancel := context.WithTimeout(n.ctx, schemaTimeout)
	defer cancel()
	for _, m := range describers(k.identity, members) {
		if m.Session == k.session && k.kind != nil {
			return k
		}
		kind, fail := n.readSchema(ctx, m, k.identity, name)
		if fail == nil {
			k.kind, k.session = kind, m.Session
			return k
		}
		// It may be a moment late, or of an older version; others may know.
		k.again, trouble = time.Now().Add(schemaPause), fail
		if ctx.Err() != nil {
			break // calls wait for this
		}
	}
	if trouble != nil && k.kind != nil {
		return k // what was known last is better than nothing
	}
	k.kind, k.session = nil, ""
	if k.fail = trouble; trouble == nil {
		k.fail = refuse(connect.CodeUnavailable, "no live node of cluster %q hosts %s: start one with its Host option, or wait until one is back", n.config.cluster, name)
	}
	return k
}

// readSchema reads what a member has published about a kind that it hosts.
func (n *Node) readSchema(ctx context.Context, m member.Member, identity, name string) (*DynamicKind, *failure) {
	e, found, err := n.config.metadata.Get(ctx, n.space.Schema(m.Session, identity))
	if err != nil {
		return nil, refuse(connect.CodeUnavailable, "the schema of %s cannot be read now: %v", name, err).because(err)
	}
	if !found {
		return nil, refuse(connect.CodeUnavailable, "the node that hosts %s has not published its schema", name)
	}
	files, main, err := decodeSchema(e.Value)
	if err != nil {
		return nil, refuse(connect.CodeInternal, "the schema of %s is damaged: %v", name, err)
	}
	for i := range main.Services().Len() {
		service := main.Services().Get(i)
		kind, ok := describeKind(service, name)
		if !ok || string(service.FullName()) != identity && string(service.FullName()) != name && !slices.Contains(kind.Aliases, identity) && !slices.Contains(kind.Aliases, name) {
			continue
		}
		return foreignDynamic(service, files, name, n.outbound == nil)
	}
	return nil, refuse(connect.CodeInternal, "the schema of %s does not declare it", name)
}

// KindNames returns the names of the services that live nodes host, sorted:
// identities without aliases.
func (n *Node) KindNames() []string {
	var names []string
	for _, m := range n.view.Live() {
		for identity := range m.Kinds {
			names = append(names, identity)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
