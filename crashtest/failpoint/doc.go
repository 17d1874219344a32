// Package failpoint makes nodes fail at chosen points, and asks afterwards
// whether every promise was kept. It holds tests only.
//
// The points are before and after each step of a call, a message, a timer and a
// claim; see points_test.go. Nothing of the runtime knows about them: they are
// in the stores, the link and the interceptor that the nodes are given, and in
// the connection to the store, where bytes are on their way. A node that gets to
// its point kills itself, or stops itself until others have taken over.
//
// Protections can be taken away in the same places, and then the audit has to
// complain; see removed_test.go.
//
// For a long campaign, and one without a protection:
//
//	go test ./crashtest/failpoint -run Long -v -timeout 0 -failpoint.kills 500
//	go test ./crashtest/failpoint -run Long -v -timeout 0 -failpoint.kills 100 -failpoint.without outbox
package failpoint
