package cajun

import "fmt"

// Declared tells all that a method's callers know of it.
func Declared(m *DynamicMethod) string {
	s := m.spec
	return fmt.Sprintf("%s delivery %v one-way %v %+v, request %s and reply %v", s.kind.Name, s.kind.Delivery, s.oneWay, s.opts, s.request().Descriptor().FullName(), !s.oneWay && s.reply() != nil)
}

// Feeds is how many streams the actors of a node feed.
func Feeds(n *Node) int64 { return n.feeds.Load() }
