package cajun

import (
	"unicode/utf8"

	"connectrpc.com/connect/v2"
)

// MaxKey is the longest key of an actor, in bytes.
const MaxKey = 512

// Pid is the address of one actor together with the door to call it through.
// It is a value: copy it, compare it, keep it. Generated Pids embed it and add
// the kind's methods.
type Pid struct {
	from Caller
	kind *Kind
	key  string
}

// NewPid is called by generated code.
func NewPid(from Caller, kind *Kind, key string) Pid { return Pid{from: from, kind: kind, key: key} }

// String returns "kind/key".
func (p Pid) String() string {
	if p.kind == nil {
		return "/"
	}
	return p.kind.Name + "/" + p.key
}

// Caller is the door that a Pid calls through: a *Node or a *Self.
type Caller interface{ node() *Node }

// Target is anything that names an actor: every Pid does.
type Target interface{ pid() Pid }

func (p Pid) pid() Pid { return p }

// door returns the node to call through.
func (p Pid) door() (*Node, *failure) {
	if p.kind == nil {
		return nil, refuse(connect.CodeInvalidArgument, "the Pid is empty: make it with the generated New…Pid function")
	}
	var n *Node
	if p.from != nil {
		n = p.from.node()
	}
	if n == nil {
		return nil, refuse(connect.CodeInvalidArgument, "the Pid of %s has no node to call through: make it from a running Node or a handler's Self", p.kind.Name)
	}
	return n, nil
}

// checkKey refuses keys that no actor can have.
func checkKey(kind, key string) *failure {
	switch {
	case key == "":
		return refuse(connect.CodeInvalidArgument, "the key of the %s is empty: every actor needs a key of 1 to %d bytes", kind, MaxKey)
	case len(key) > MaxKey:
		return refuse(connect.CodeInvalidArgument, "the key of the %s has %d bytes, at most %d are taken: use a hash of it", kind, len(key), MaxKey)
	case !utf8.ValidString(key):
		return refuse(connect.CodeInvalidArgument, "the key of the %s is not UTF-8: encode it, for example in base64", kind)
	}
	return nil
}
