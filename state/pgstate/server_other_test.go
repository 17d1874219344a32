//go:build !linux

package pgstate

// startServer starts none: only Linux lets a child be sure to end with its
// parent.
func startServer() (conn string, stop func(), err error) { return "", nil, errNoServer }
