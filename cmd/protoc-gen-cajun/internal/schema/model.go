// Package schema reads the descriptors of proto files into a plain model of
// the actors that they declare, and refuses what cannot work.
package schema

import (
	"time"

	"github.com/cajun-go/cajun/guarantee"
)

// File is what one proto file asks to be generated.
type File struct {
	// Source is the path of the proto file.
	Source string
	// Output is the path of the Go file, as protogen wants it.
	Output string
	// Package is the Go package of the output.
	Package Package
	// Messages is the Go package of the file's messages, and Descriptor the
	// variable there that holds the file's descriptor.
	Messages   Package
	Descriptor string
	// Own reports whether the package holds nothing but generated actors, and
	// not the messages too.
	Own bool
	// Header is the comment above the file's syntax declaration, such as a
	// licence: one entry per block of lines.
	Header []string
	// Actors are in the order of the source.
	Actors []*Actor
}

// Package is a Go package.
type Package struct{ Path, Name string }

// Message is the Go type of a proto message.
type Message struct {
	Package Package
	Name    string
}

// Actor is a service that is marked as an actor kind. Zero fields of the
// settings say that the source leaves them to the runtime.
type Actor struct {
	// FullName is the service's full proto name.
	FullName string
	// GoName is the Go form of the service's name.
	GoName string
	// Comment is that above the service or behind its opening brace.
	Comment string
	// Deprecated reports whether the service or its file is.
	Deprecated bool
	// State is the durable state, or nil.
	State *Message

	Aliases         []string
	Delivery        guarantee.Level
	IdleTimeout     time.Duration
	MailboxCapacity uint32
	Shards          uint32

	// Methods are in the order of the source.
	Methods []*Method
}

// Method is a method of an actor.
type Method struct {
	// Name is the simple proto name, which identifies the method to peers.
	Name string
	// GoName is the Go form of it.
	GoName string
	// Comment is that above the method or behind it.
	Comment string
	// Deprecated reports whether the method itself is.
	Deprecated bool

	Request, Response Message

	// Delivery is what the method itself declares.
	Delivery guarantee.Level
	Timeout  time.Duration
	Retry    guarantee.RetryPolicy
	OneWay   bool
	// Streams reports whether the response is a stream.
	Streams       bool
	NoSideEffects bool
	Immutable     bool
	// KeyField is the number of the request field that holds the actor's key,
	// or 0.
	KeyField int32
}

// Promise is the level that holds for m, a method of a, when neither the
// caller nor the node raises it; Unspecified leaves it to the node. A method
// without side effects has nothing to deduplicate, so that it does not inherit
// ExactlyOnce. A stream is always AtMostOnce.
func (a *Actor) Promise(m *Method) guarantee.Level {
	switch {
	case m.Streams:
		return guarantee.AtMostOnce
	case m.Delivery != guarantee.Unspecified:
		return m.Delivery
	case m.NoSideEffects && a.Delivery == guarantee.ExactlyOnce:
		return guarantee.AtLeastOnce
	}
	return a.Delivery
}
