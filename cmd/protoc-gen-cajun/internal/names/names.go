// Package names is the one place that knows which Go identifiers an actor's
// generated code declares. No two actors of a package may share one, whatever
// their services and methods are called.
package names

import "strings"

// Actor is the Go name of an actor's service, from which all others derive.
// It begins with an upper-case letter and consists of ASCII letters, digits
// and underscores, as protogen makes it.
type Actor string

// Interface is the interface that the actor implements.
func (a Actor) Interface() string { return string(a) }

// KindConst is the constant with the service's full name.
func (a Actor) KindConst() string { return string(a) + "Kind" }

// Host is the function that makes the option to host the actor.
func (a Actor) Host() string { return "Host" + string(a) }

// Pid is the actor's typed address.
func (a Actor) Pid() string { return string(a) + "Pid" }

// NewPid is the function that makes a Pid.
func (a Actor) NewPid() string { return "New" + string(a) + "Pid" }

// Unimplemented is the type that answers every method with an error.
func (a Actor) Unimplemented() string { return "Unimplemented" + string(a) }

// KindVar is the variable that describes the kind. It holds no underscore that
// stands alone, so it is never a MethodVar.
func (a Actor) KindVar() string { return a.unexported() + "Kind" }

// PidAlias is the name under which cajun.Pid is embedded when a method is
// named Pid.
func (a Actor) PidAlias() string { return a.unexported() + "Pid" }

// MethodVar is the variable that describes the method with the given Go name.
// The first underscore that stands alone ends the actor's part, as a method's
// Go name begins with a letter: so A_B with C and A with B_C stay apart.
func (a Actor) MethodVar(method string) string { return a.unexported() + "_" + method }

// unexported is the actor's name with a lower-case initial, in which every
// underscore is doubled.
func (a Actor) unexported() string {
	return strings.ToLower(string(a[:1])) + strings.ReplaceAll(string(a[1:]), "_", "__")
}

// All lists every identifier that the actor's code declares in its package.
func (a Actor) All(methods []string) []string {
	all := []string{
		a.Interface(), a.KindConst(), a.Host(), a.Pid(), a.NewPid(), a.Unimplemented(),
		a.KindVar(), a.PidAlias(),
	}
	for _, m := range methods {
		all = append(all, a.MethodVar(m))
	}
	return all
}
