package cajun

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

// Caller is the door that a Pid calls through: a *Node or a *Self.
type Caller interface{ node() *Node }

// Target is anything that names an actor: every Pid does.
type Target interface{ target() (kind *Kind, key string) }

func (p Pid) target() (*Kind, string) { return p.kind, p.key }
