package cajun

import "fmt"

// Declared tells all that a method's callers know of it.
func Declared(m *DynamicMethod) string {
	s := m.spec
	return fmt.Sprintf("%s delivery %v one-way %v %+v, request %s and reply %v", s.kind.Name, s.kind.Delivery, s.oneWay, s.opts, s.request().Descriptor().FullName(), !s.oneWay && s.reply() != nil)
}

// Feeds is how many streams the actors of a node feed.
func Feeds(n *Node) int64 { return n.feeds.Load() }

// Streams is how many streams a node knows that are read on it, and that go to other
// nodes.
func Streams(n *Node) (reading, feeding int) {
	n.peersMu.RLock()
	defer n.peersMu.RUnlock()
	for _, p := range n.peers {
		p.mu.Lock()
		reading += len(p.reading)
		feeding += len(p.feeding)
		p.mu.Unlock()
	}
	return reading, feeding
}
