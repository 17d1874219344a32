package cajun

import "connectrpc.com/connect/v2"

// Unimplemented is what generated Unimplemented types answer: a
// [*connect.Error] with [connect.CodeUnimplemented] that names the kind and
// the proto method, and what its owner has to write. The call was answered by
// the actor; repeating it gives the same answer until the actor's type has the
// method.
func Unimplemented(kind, method string) error {
	return connect.Errorf(connect.CodeUnimplemented,
		"%s does not implement %s: give the Go type that is hosted as %s a method of its own for it, in place of the one that it inherits from the generated Unimplemented type",
		kind, method, kind)
}
