// Package link is how nodes talk: a Transport carries frames between the
// sessions of a cluster. connectlink does it over Connect; memlink does it
// inside one process, with faults on demand.
//
// A transport promises little, and the layers above need no more: a frame is
// delivered zero times, once, or more often; in any order; and frames of a
// peer whose stream broke may be lost. What it must never do is to deliver a
// frame to another session than the one that it was sent to.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/cajun-go/cajun/guarantee"
)

// Version is the version of the link's schema that this package speaks.
const Version = 1

// DefaultMaxMessage is the largest payload of one frame, in bytes, unless
// Config says otherwise.
const DefaultMaxMessage = 4 << 20

var (
	// ErrRefused says that nobody listens at the peer's address: its process
	// is gone.
	ErrRefused = errors.New("link: the peer refuses connections")
	// ErrWrongPeer says that another session answers at the peer's address.
	ErrWrongPeer = errors.New("link: another session answers at this address")
	// ErrClosed says that the endpoint was closed.
	ErrClosed = errors.New("link: the endpoint is closed")
	// ErrTooLarge says that a frame is over the limit of Config.MaxMessage.
	ErrTooLarge = errors.New("link: the message is larger than the link takes")
	// ErrNoAddress says that the peer has no address and no open stream: a
	// node that only calls, and that has gone.
	ErrNoAddress = errors.New("link: the peer has no address to dial and no open stream")
)

// A Transport makes endpoints. One Transport value serves one node.
type Transport interface {
	// Open starts the node's end of the link. ctx bounds only the start.
	Open(ctx context.Context, cfg Config) (Endpoint, error)
}

// Config is what a node tells its transport.
type Config struct {
	// Cluster and Session say who this node is. Streams of another cluster are
	// refused.
	Cluster, Session string
	// Listen is the address to listen on, Advertise what others dial when it
	// differs. An empty Listen stands for a free loopback port. ClientOnly
	// endpoints do not listen.
	Listen, Advertise string
	ClientOnly        bool
	// TLS, when set, protects both directions: its certificates identify the
	// node, its RootCAs check servers, and its ClientAuth and ClientCAs decide
	// about clients. Insecure allows a non-loopback Listen without TLS.
	TLS      *tls.Config
	Insecure bool
	// MaxMessage bounds a frame's payload in bytes; 0 is DefaultMaxMessage.
	MaxMessage int
	// Receiver gets what arrives.
	Receiver Receiver
	Logger   *slog.Logger
}

// Peer is another session and where it listens.
type Peer struct {
	Session string
	// Address is empty for a session that only calls; it is then reachable as
	// long as its own stream is open.
	Address string
}

// An Endpoint is one node's end of the link. Its methods are safe for
// concurrent use.
type Endpoint interface {
	// Address is what others dial.
	Address() string
	// Send hands a frame over for delivery. It may wait for a connection and
	// for room in the peer's bounded send buffer, until ctx ends. An error
	// means that the frame was not sent and never will be; nil promises
	// nothing. Send does not retain f nor what it points to.
	Send(ctx context.Context, to Peer, f Frame) error
	// Probe looks whether the peer's process is there: nil when a stream to it
	// is open or can be opened, ErrRefused when its address refuses
	// connections, ErrWrongPeer when another session took its address.
	Probe(ctx context.Context, to Peer) error
	// Connected reports whether a stream to the session is open now.
	Connected(session string) bool
	// Close closes all streams and waits for everything that the endpoint
	// started. The Receiver is not called after Close has returned.
	Close() error
}

// A Receiver gets what arrives at an endpoint. Its methods are called from the
// endpoint's own goroutines, must not block, and must not retain the frame or
// anything that it points to (strings may be kept) after they return.
type Receiver interface {
	// Receive gets a frame that the session from sent to this node.
	Receive(from string, f Frame)
	// PeerDown is called when the last stream to a session has ended. Frames
	// under way in either direction may be lost.
	PeerDown(session string, err error)
}

// A Frame is one message: exactly one of Request, Response, Cancel and Progress is
// set.
type Frame struct {
	Request  *Request
	Response *Response
	Cancel   *Cancel
	Progress *Progress
	// Number, when set, gives a Request that is sent its ID. Send calls it once
	// if it is going to return nil, and not at all otherwise, at the moment at
	// which the frame's place among those to the peer is settled; so IDs arrive
	// in order unless the link has faults. An ID that was taken before Send
	// arrives late by as many others as overtake a sender that is held up in
	// between, and the receiver's Window may have forgotten it by then.
	Number Numberer
}

// Numberer gives out the IDs of requests to one session. Number must not block
// nor call the link.
type Numberer interface{ Number() uint64 }

// Settle gives the frame its number, if it is still to get one.
func (f *Frame) Settle() {
	if f.Number != nil {
		f.Request.ID, f.Number = f.Number.Number(), nil
	}
}

// Request asks a node to run one call. See cajun.link.v1 for each field.
type Request struct {
	// ID ascends per pair of sender and receiver, from 1.
	ID        uint64
	Kind      string
	Key       string
	Method    string
	Shard     uint32
	Epoch     uint64
	Level     guarantee.Level
	OneWay    bool
	Repeat    bool
	Call      guarantee.CallID
	Watermark uint64
	// OpenBelow is how far below Watermark sequences lie that may come again.
	OpenBelow []uint64
	// Timeout is what remains of the caller's deadline; 0 is none.
	Timeout time.Duration
	Chain   []string
	Headers []Header
	Payload []byte
	// Hops counts the durable one-way calls that led to this call.
	Hops uint32
	// Errand is set when the owner is to do something else than to run the
	// method for a waiting caller.
	Errand *Errand
	// Stream says that the call opens a stream, and StreamTimeout is what remains
	// of the time for all of it; 0 is no limit.
	Stream        bool
	StreamTimeout time.Duration
}

// Errand is a request to an actor's owner about durable messages.
type Errand struct {
	Task Task
	// Name is that of a timer, which is due After and then Every so often.
	Name         string
	After, Every time.Duration
	// Sequence is the number of a dead letter.
	Sequence uint64
}

// Task is what an actor's owner is asked to do; cajun.link.v1 says more.
type Task uint32

const (
	// TaskCall is to run a method for a caller: there is no errand.
	TaskCall Task = iota
	// TaskDeliver is to run a one-way method and to answer once its effect is
	// stored.
	TaskDeliver
	// TaskAccept is to store a one-way call, to answer and to run it later.
	TaskAccept
	// TaskSchedule is to set a timer, and TaskUnschedule to remove it.
	TaskSchedule
	TaskUnschedule
	// TaskListDead is to tell the dead letters, TaskResend to send one of them
	// again, and TaskDiscard to delete one.
	TaskListDead
	TaskResend
	TaskDiscard
)

// Response answers the request with the same ID.
type Response struct {
	ID uint64
	// Code is a Connect error code; 0 is success.
	Code         uint32
	Message      string
	Details      []Detail
	Outcome      guarantee.Outcome
	Retryable    bool
	InternalText bool
	// Replayed says that the answer was there before the request came.
	Replayed bool
	// Redirect is set when the receiver does not own the shard.
	Redirect *Redirect
	Payload  []byte
	// Part is the place of this response among those to a request for a stream,
	// from 1, and Last says that it is the last one. With a Probe it is no part but
	// asks for the receiver's progress.
	Part  uint64
	Last  bool
	Probe uint64
}

// Redirect is what a node knows of a shard that it does not own.
type Redirect struct {
	Owner  string
	Epoch  uint64
	Target string
}

// Cancel says that nobody waits for the request with this ID any more.
type Cancel struct{ ID uint64 }

// Progress says how far the receiver of the stream that the request with this ID
// has opened is: which parts have arrived, and which ones its reader has taken.
// Probe is that of the response that it answers, if it does.
type Progress struct{ ID, Received, Consumed, Probe uint64 }

// Header is one key and value that a caller sets for one hop.
type Header struct{ Key, Value string }

// Detail is a typed detail of an error.
type Detail struct {
	Type  string
	Value []byte
}

// Faults disturbs messages between nodes, reproducibly for a given Seed. Rates
// are 0 to 1.
type Faults struct {
	Seed                     uint64
	Loss, Duplicate, Reorder float64
	// Delay is the longest delay of a message; the actual one is uniform.
	Delay time.Duration
}
