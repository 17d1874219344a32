package cajun

// Node is one process's part in a cluster.
type Node struct{}

func (n *Node) node() *Node { return n }

// Self is what an actor sees of itself.
type Self struct{ n *Node }

func (s *Self) node() *Node { return s.n }

// Option configures Start.
type Option interface{ apply() }
