// Package crashtest kills, stops and restarts real processes: nodes with
// SIGKILL, SIGSTOP and SIGCONT, and the etcd that they meet in. It holds tests
// only.
//
// Each test starts its nodes as child processes of the test binary, connected
// over loopback, and drives them from a node of its own that only calls. Every
// call leaves a mark of its own in the durable state of the actor that ran it,
// so that a test knows afterwards how often each single call took effect, and
// not only that the sums are right.
//
// The campaign of random crashes takes a few seconds; for a long one:
//
//	go test ./crashtest -run Campaign -timeout 0 -crashtest.long 30m
package crashtest
