package metadata

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Space is where the keys of one cluster live: everything under
// "/cajun/<cluster>/". Clusters with different names share one store without
// seeing each other. Spaces compare with ==; make one with NewSpace, as the
// zero Space has no name.
type Space struct{ root string }

// NewSpace returns the space of a cluster. The name becomes one element of
// every key's path: empty names, a '/' and control characters are refused, so
// that no cluster reaches into the keys of another.
func NewSpace(cluster string) (Space, error) {
	switch {
	case cluster == "":
		return Space{}, fmt.Errorf("metadata: the cluster needs a name")
	case !utf8.ValidString(cluster):
		return Space{}, fmt.Errorf("metadata: the cluster name %q is not UTF-8", cluster)
	case strings.Contains(cluster, "/"):
		return Space{}, fmt.Errorf("metadata: the cluster name %q contains a '/': choose one without", cluster)
	case strings.ContainsFunc(cluster, unicode.IsControl):
		return Space{}, fmt.Errorf("metadata: the cluster name %q contains a control character: choose one without", cluster)
	}
	return Space{root: "/cajun/" + cluster + "/"}, nil
}

// Prefix is what every key of the space starts with.
func (s Space) Prefix() string { return s.root }

// ClusterID is the key of the cluster's identity, which is written once.
func (s Space) ClusterID() string { return s.root + "clusterid" }

// Leader is the key of the election.
func (s Space) Leader() string { return s.root + "leader" }

// Members is the prefix of the sessions that are in the cluster.
func (s Space) Members() string { return s.root + "members/" }

// Member is the key of one session. It is bound to the session's lease.
func (s Space) Member(session string) string { return s.Members() + session }

// ParseMember returns the session that a key of Members names, and whether it
// is such a key.
func (s Space) ParseMember(key string) (session string, ok bool) {
	return parseElement(key, s.Members())
}

// Kinds is the prefix of what the cluster knows about its kinds.
func (s Space) Kinds() string { return s.root + "kinds/" }

// Kind is the key of one kind, which is written once.
func (s Space) Kind(identity string) string { return s.Kinds() + identity }

// ParseKind returns the identity that a key of Kinds names, and whether it is
// such a key.
func (s Space) ParseKind(key string) (identity string, ok bool) {
	return parseElement(key, s.Kinds())
}

// Schema is the key under which a session tells what a kind looks like that it
// hosts. It is bound to the session's lease.
func (s Space) Schema(session, identity string) string {
	return s.root + "schemas/" + session + "/" + identity
}

// Shards is the prefix of the shard records of all kinds.
func (s Space) Shards() string { return s.root + "shards/" }

// ShardsOf is the prefix of the shard records of one kind.
func (s Space) ShardsOf(identity string) string { return s.Shards() + identity + "/" }

// Shard is the key of one shard's record.
func (s Space) Shard(identity string, n uint32) string {
	return s.ShardsOf(identity) + strconv.FormatUint(uint64(n), 10)
}

// ParseShard returns the kind and the number that a key of Shards names, and
// whether it is such a key. Only what Shard writes is taken: "7" names a
// shard and "07" does not, as two keys for one shard would have two owners.
func (s Space) ParseShard(key string) (identity string, n uint32, ok bool) {
	rest, found := strings.CutPrefix(key, s.Shards())
	if !found || s.root == "" {
		return "", 0, false
	}
	identity, number, found := strings.Cut(rest, "/")
	if !found || identity == "" {
		return "", 0, false
	}
	v, err := strconv.ParseUint(number, 10, 32)
	if err != nil || (number[0] == '0' && number != "0") {
		return "", 0, false
	}
	return identity, uint32(v), true
}

// parseElement returns the one path element that follows prefix.
func parseElement(key, prefix string) (string, bool) {
	element, ok := strings.CutPrefix(key, prefix)
	if !ok || element == "" || prefix[0] != '/' || strings.Contains(element, "/") {
		return "", false
	}
	return element, true
}
