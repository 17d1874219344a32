package cajun

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

// The states of a call at its actor.
const (
	callQueued int32 = iota
	callStarted
	callWithdrawn
	callDone
)

// call is one message in an actor's mailbox, from a local or a remote caller.
type call struct {
	next       *call // in the mailbox
	state      atomic.Int32
	activation *activation
	durable    *durable // of the turn
	method     *hostedMethod
	req        proto.Message
	turn       turnContext

	id guarantee.CallID
	// watermark and open tell which of the caller's calls will not come again.
	watermark uint64
	open      []uint64
	level     guarantee.Level
	// hash binds id to the method and the arguments of an EXACTLY_ONCE call. It
	// is taken before the handler may change the request.
	hash      []byte
	repeat    bool
	copyReply bool // a local caller that must not share memory with the actor
	// convert is the type of the reply that a local caller knows, when it is
	// not the host's own: the caller uses another version of the service.
	convert func() protoreflect.MessageType
	// nested says that a turn made the call: it is admitted while the shard
	// drains, as the drain waits for turns. reached says that the interceptors
	// let it through to the handler.
	nested, reached bool
	chain           []string
	peer            string
	headers         map[string]string
	// hops counts the durable one-way calls that led here.
	hops   uint32
	errand link.Errand
	// own says for which of the actor's own items the turn is, and unfit why it
	// cannot be.
	own   own
	unfit *failure
	// intent is the number of the intent that the turn was begun under, for one
	// that is run again.
	intent uint64
	// hook says that no handler runs, but a hook of the actor.
	hook bool

	// The caller: a local one that waits, a remote one, or nobody. inline says
	// that a local one may run the turn itself.
	inline bool
	waiter *waiter
	remote remoteCaller
	// opens is about the stream that the call opens, if it does. It stands apart so
	// that other calls are no larger.
	opens *opening
	// joined are repeats of this call that arrived while it was here; guarded
	// by the activation's mutex.
	joined []*call
	// original is the call that this one has joined.
	original atomic.Pointer[call]
}

// opening is what is known of a stream before it is open: who reads it, on the
// actor's own node, and until when it may last.
type opening struct {
	reader   *reader
	deadline time.Time
}

// remoteCaller says where a reply goes.
type remoteCaller struct {
	peer *peer
	id   uint64
}

// result is how a turn ended.
type result struct {
	// message is the reply. payload is its stored encoding under EXACTLY_ONCE,
	// which every caller gets byte for byte; message may be nil then.
	message proto.Message
	payload []byte
	stored  bool
	fail    *failure
	// replayed says that the answer was there before the call came.
	replayed bool
}

// waiter is where a local caller waits for a result. Nodes reuse them.
type waiter struct {
	ready  chan struct{}
	result result
	timer  *time.Timer
	// peer is asked for the result, if another node is, and reply is its type.
	peer  *peer
	reply func() protoreflect.MessageType
	// reader is who reads the stream that the request opens.
	reader *reader
}

func newWaiter() any { return &waiter{ready: make(chan struct{}, 1)} }

func (w *waiter) deliver(r result) {
	w.result = r
	w.ready <- struct{}{}
}

// start claims the call for its turn; false means that its caller has left.
func (c *call) start() bool { return c.state.CompareAndSwap(callQueued, callStarted) }

// withdraw takes the call back before its turn; false means that it has
// started.
func (c *call) withdraw() bool { return c.state.CompareAndSwap(callQueued, callWithdrawn) }

// isWithdrawn reports whether the call was taken back before its turn.
func (c *call) isWithdrawn() bool { return c.state.Load() == callWithdrawn }

func (c *call) answer(n *Node, r result) {
	open := c.method.spec.streams && c.turn.settleFeed(r.fail)
	switch {
	case open && c.remote.peer != nil: // the first part of the stream is the answer
	case c.inline:
		c.waiter.result = c.local(r)
	case c.waiter != nil:
		c.waiter.deliver(c.local(r))
	case c.remote.peer != nil:
		n.respond(c.remote, r)
	}
}

// local makes a result safe to hand to a caller in this process.
func (c *call) local(r result) result {
	if r.fail != nil || !c.method.spec.replies() {
		return r
	}
	known := c.method.spec.reply
	if c.convert != nil {
		known = c.convert
	}
	var err error
	switch {
	case r.stored:
		r.message = known().New().Interface()
		err = proto.Unmarshal(r.payload, r.message)
	case c.convert != nil:
		r.message, err = retyped(r.message, known())
	case c.copyReply:
		r.message = proto.Clone(r.message)
	}
	if err != nil {
		return result{fail: unreadableReply(err)}
	}
	return r
}

// retyped is a message as one of another Go type: who knows other versions of the
// proto understands it by its encoding.
func retyped(m proto.Message, t protoreflect.MessageType) (proto.Message, error) {
	to := t.New().Interface()
	return to, transcribe(to, m)
}

// transcribe makes to what the encoding of m says.
func transcribe(to, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return proto.Unmarshal(b, to)
}

// repeats reports whether c is another attempt of the same call. A key of the
// caller's own names a call of one method, and whoever uses it for other
// arguments is to be told so.
func (c *call) repeats(other *call) bool {
	return c.id == other.id && c.method == other.method && bytes.Equal(c.hash, other.hash)
}

// describe is the call as handlers and interceptors see it.
func (c *call) describe() Call {
	return Call{
		Kind:    c.method.spec.kind.Name,
		Key:     c.activation.self.key,
		Method:  c.method.spec.name,
		ID:      c.idString(),
		Level:   c.level,
		Repeat:  c.repeat,
		Peer:    c.peer,
		headers: c.headers,
		in:      c,
	}
}

// remembered reports whether the answer is stored under the call's ID. An item of
// the actor's own is removed by its turn's commit instead. The answer to a message
// is stored at any level if its turn has called others: they must not be called
// again.
func (c *call) remembered() bool {
	switch {
	case c.own.is():
		return false
	case c.level == guarantee.ExactlyOnce:
		return true
	}
	return c.errand.Task == link.TaskDeliver && c.turn.hasIntent()
}

// looksUp reports whether the call may have been answered before, by an answer
// that is stored.
func (c *call) looksUp() bool {
	return !c.own.is() && (c.level == guarantee.ExactlyOnce || c.errand.Task == link.TaskDeliver)
}

// durableOneWay reports whether the turn is run anew when its handler fails, as
// nobody is there to be told.
func (c *call) durableOneWay() bool { return c.own.is() || c.errand.Task == link.TaskDeliver }

// hashName is what the hash of the arguments covers besides them.
func (c *call) hashName() string {
	if e := c.errand; e.Task > link.TaskDeliver {
		return fmt.Sprintf("%s\x00%d %q %d", c.method.spec.name, e.Task, e.Name, e.Sequence)
	}
	return c.method.spec.name
}

// idString is the call's ID in a form that is unique across all actors.
func (c *call) idString() string {
	if c.own.is() {
		return c.own.label
	}
	if c.id.Key != "" {
		return c.activation.path() + "/" + c.method.spec.name + "/" + c.id.String()
	}
	return c.id.String()
}

// logID is idString for logs, where the actor's key does not belong: it may be a
// person's name.
func (c *call) logID() string { return strings.TrimPrefix(c.idString(), c.activation.path()+"/") }

// headerMap returns the headers of a frame.
func headerMap(hs []link.Header) map[string]string {
	if len(hs) == 0 {
		return nil
	}
	m := make(map[string]string, len(hs))
	for _, h := range hs {
		m[h.Key] = h.Value
	}
	return m
}

// cancel tells a call that nobody waits for it any more.
func (c *call) cancel() {
	original := c.original.Load()
	switch {
	case original == nil:
		if !c.withdraw() {
			c.turn.end(context.Canceled)
		}
	case c.id.Key == "":
		original.cancel() // the same caller's, sent earlier
	}
}
