//go:build unix

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cajun-go/cajun/crashtest/internal/process"
)

// point is a place in the life of a node where it can be made to fail.
type point struct {
	name string
	// within is how many hits of the point a campaign chooses from: few for what
	// happens rarely.
	within int
}

// points are all of them. Those of commits are told apart by what the commit is
// for; one commit can be for several things.
var points = []point{
	// The handler of a turn, with what leads to it and what follows.
	{"handler.before", 60}, {"handler.after", 60},
	// Any commit: before it leaves; once its bytes are on their way to the
	// store; when the store has acknowledged it and the runtime does not know;
	// and when the runtime knows.
	{"commit.before", 60}, {"commit.sent", 60}, {"ack.before", 60}, {"ack.after", 60},
	// An answer to another node, before and after it is handed to the link.
	{"reply.before", 60}, {"reply.after", 60},
	// What a new owner reads: the agenda of a shard, and an actor with messages
	// or a turn to finish.
	{"agenda.before", 3}, {"agenda.after", 2}, {"outbox.after", 3},
	// The sender's side of a delivery: the message leaves, the acknowledgement
	// arrives and is passed on, and the message's row is removed.
	{"message.before", 20}, {"message.after", 20}, {"delivery.before", 20}, {"delivery.after", 20},
	{"settled.before", 20}, {"settled.after", 20},
	// A request that carries a higher watermark than the last one, where it is
	// sent and where it arrives.
	{"watermark.before", 40}, {"watermark.after", 40},
	// The fence of shards, and the record in which a claim names its owner.
	{"seal.before", 2}, {"seal.sent", 2}, {"seal.after", 2},
	{"claim.before", 2}, {"claim.sent", 2}, {"claim.after", 2},
	// Commits that store messages to others, accept and finish messages from
	// outside, set or advance a timer, and begin and end a turn that calls
	// others.
	{"posted.before", 15}, {"posted.after", 15}, {"accepted.before", 10}, {"accepted.after", 10},
	{"handled.before", 10}, {"handled.after", 10}, {"timer.before", 10}, {"timer.after", 10},
	{"intent.before", 10}, {"intent.after", 10}, {"intent-over.before", 10}, {"intent-over.after", 10},
}

func pointNamed(name string) (point, bool) {
	for _, p := range points {
		if p.name == name {
			return p, true
		}
	}
	return point{}, false
}

// aim says at which hit of which point a process is to fail: it kills itself,
// or stops itself in its tracks.
type aim struct {
	point string
	hit   int
	stop  bool
}

// String is the form in which a child is told, such as "commit.sent#37" and
// "posted.before#2!stop".
func (a aim) String() string {
	if a.point == "" {
		return ""
	}
	s := fmt.Sprintf("%s#%d", a.point, a.hit)
	if a.stop {
		s += "!stop"
	}
	return s
}

func parseAim(s string) (a aim, err error) {
	if s == "" {
		return aim{}, nil
	}
	s, a.stop = strings.CutSuffix(s, "!stop")
	name, hit, _ := strings.Cut(s, "#")
	if _, known := pointNamed(name); !known {
		return a, fmt.Errorf("there is no point %q", name)
	}
	a.point = name
	a.hit, err = strconv.Atoi(hit)
	return a, err
}

// trap makes its process fail at what it aims at. The zero aim is at nothing.
type trap struct {
	out  *process.Speaker
	goOn chan struct{}

	mu   sync.Mutex
	aim  aim
	left int
}

func newTrap(out *process.Speaker) *trap { return &trap{out: out, goOn: make(chan struct{})} }

// set aims anew; hits count from now.
func (t *trap) set(a aim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aim, t.left = a, a.hit
}

// at is called at a point and does not return when the process is to die there.
func (t *trap) at(point string) {
	if t.springs(point) {
		t.strike()
	}
}

// springs counts a hit of a point and reports whether it is the one, for those
// who strike a little later.
func (t *trap) springs(point string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.aim.point != point || t.left == 0 {
		return false
	}
	t.left--
	return t.left == 0
}

// strike kills the process, or stops it until its parent lets it go on. A signal
// to oneself may take effect a moment later on other threads, so the one that
// has got here waits.
func (t *trap) strike() {
	t.mu.Lock()
	a := t.aim
	t.mu.Unlock()
	if a.stop {
		t.out.Say("stopped %v", a)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-t.goOn
		return
	}
	t.out.Say("died %v", a)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
