//go:build unix

package crashtest

import (
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/crashtest/internal/process"
	"github.com/cajun-go/cajun/guarantee"
)

// TestStoppedOwner stops a node with SIGSTOP for longer than its lease lasts,
// with calls in a handler, in a mailbox and about to be made, and lets it go
// on. Meanwhile nobody can tell that it is dead, so others wait for its lease;
// and when it wakes it must not take itself for alive.
func TestStoppedOwner(t *testing.T) {
	const ttl = 2 * time.Second
	c := start(t, 3, ttl)
	const stopped = 1
	node := c.nodes[stopped]
	keys := c.place(stopped, 8)
	remote, local, read, other := keys[0], keys[1], keys[2], keys[3:]
	ctx := t.Context()

	type reply struct {
		node string
		err  error
	}
	call := func(level guarantee.Level, key, name string) <-chan reply {
		answer := make(chan reply, 1)
		go func() {
			node, err := c.greet(ctx, level, key, name)
			answer <- reply{node, err}
		}()
		return answer
	}
	// A remote caller's call in its handler, at each level, and a local one.
	inHandler := call(guarantee.AtMostOnce, remote, holdName)
	node.Await("entered " + remote)
	repeated := make(map[string]<-chan reply)
	for i, level := range []guarantee.Level{guarantee.AtLeastOnce, guarantee.ExactlyOnce} {
		repeated[other[i]] = call(level, other[i], holdName)
		node.Await("entered " + other[i])
	}
	node.Tell("greet handler AT_MOST_ONCE %s %s", local, holdName)
	node.Await("entered " + local)
	// Calls in the mailboxes behind them: they get there before the answer to a
	// call of another actor that was sent after them.
	inMailbox := call(guarantee.AtMostOnce, remote, "16")
	node.Tell("greet mailbox AT_MOST_ONCE %s 16", local)
	for range 20 {
		if _, err := c.greet(ctx, guarantee.AtMostOnce, read, "1"); err != nil {
			t.Fatal(err)
		}
	}

	node.Stop()
	began := time.Now()
	session := c.session(stopped)
	for i, other := range c.nodes {
		if i != stopped {
			other.Tell("release")
		}
	}
	// What it finds when it wakes.
	node.Tell("release")
	node.Tell("tally read %s", read)
	node.Tell("greet fresh AT_MOST_ONCE %s 4096", other[2])
	// Its lease expires at the earliest now.
	gone := c.eventually("the stopped node's lease ends", func() bool { return !c.isMember(session) })
	first, all := c.back(stopped, append([]string{read}, other[2:]...), began)
	t.Logf("stopped: out of the members after %v, first actor back after %v, all after %v", gone, first, all)
	if limit := ttl + process.Limit(time.Second); all > limit {
		t.Errorf("its actors were away for %v, want at most %v", all, limit)
	}
	if _, err := c.greet(ctx, guarantee.AtMostOnce, read, "65536"); err != nil {
		t.Error("the actor that was taken over:", err)
	}
	wantUnanswered := func(what string, r reply) {
		t.Helper()
		if r.err == nil {
			t.Errorf("%s was answered by %s", what, r.node)
		}
	}
	wantUnanswered("the call in the handler", <-inHandler)
	queued := <-inMailbox
	wantUnanswered("the call in the mailbox", queued)

	node.Resume()
	node.Await("ended lost")
	for _, id := range []string{"handler", "mailbox"} {
		if got := node.Await("result " + id + " "); id == "handler" && !strings.HasPrefix(got, "error") {
			t.Errorf("the local caller of the %s was told %q", id, got)
		}
	}
	// A caller in the process that woke may reach the new owner, or nobody; but
	// it must not get what the old owner remembers.
	if got := node.Await("result read "); got == "ok 20" {
		t.Errorf("a read was served from the memory of the former owner: %q", got)
	}
	fresh := node.Await("result fresh ")
	if strings.HasSuffix(fresh, node.Name()) {
		t.Errorf("a call was served by the former owner: %q", fresh)
	}
	node.Wait(ctx)

	for key, answer := range repeated {
		if r := <-answer; r.err != nil || r.node == node.Name() {
			t.Errorf("a repeatable call of %s: from %q, %v", key, r.node, r.err)
		}
	}
	c.wantMarks(remote, 0)
	c.wantMarks(local, 0, 16) // the queued one may have gone to the new owner
	c.wantMarks(read, 20+65536)
	if got := c.tally(other[0]).GetAtLeastOnce(); got != 1 {
		t.Errorf("AT_LEAST_ONCE across the stop took effect %d times; the former owner must not have committed", got)
	}
	if got := c.tally(other[1]).GetExactlyOnce(); got != 1 {
		t.Errorf("EXACTLY_ONCE across the stop took effect %d times", got)
	}
}

// wantMarks checks an actor's counter at AT_MOST_ONCE.
func (c *cluster) wantMarks(key string, want ...uint64) {
	c.t.Helper()
	got := c.tally(key).GetAtMostOnce()
	for _, w := range want {
		if got == w {
			return
		}
	}
	c.t.Errorf("%s has the marks %d, want one of %d", key, got, want)
}
