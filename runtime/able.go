package cajun

import (
	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/placement"
)

// kind finds what the cluster knows of a kind under any of its names: a caller of
// a generation that has given it a new one may be there before any host of that.
func (n *Node) kind(k *Kind) (placement.KindInfo, bool) {
	info, ok := n.table.Kind(k.Name)
	for i := 0; !ok && i < len(k.Aliases); i++ {
		info, ok = n.table.Kind(k.Aliases[i])
	}
	return info, ok
}

// able reports whether a member knows the method that it is to be asked for. In
// the middle of an upgrade a kind's nodes have several generations of its
// service.
func (o *outgoing) able(m member.Member) bool {
	if o.errand.Task > link.TaskSchedule {
		return true // what is asked is about no method
	}
	return m.Knows(o.identity, o.spec.name)
}

// lacking is the failure of an attempt that was not made, as the node that it
// would have gone to, by this name, does not know the method. The actor will be
// on another one once the upgrade is through, so the call is tried again if there
// is any that knows it.
func (n *Node) lacking(o *outgoing, name string) *failure {
	for _, m := range n.view.Live() {
		if m.Hosts(o.identity) && o.able(m) {
			return unavailable("the actor lives on node %s, whose generation of %s has no method %s; node %s has it: go on with the upgrade, which moves the actor", name, o.spec.kind.Name, o.spec.name, m.Name)
		}
	}
	f := refuse(connect.CodeUnimplemented, "no live node of cluster %q knows the method %s of %s: they run another generation of the service, so upgrade nodes before those who call them", n.config.cluster, o.spec.name, o.spec.kind.Name)
	f.outcome = guarantee.NotExecuted
	return f
}
