package names

import "testing"

// TestAllNamesAreDistinct tries every pair of services and methods made of
// pieces that invite collisions. Go names that actors export can collide, and
// are refused elsewhere; the others must never.
func TestAllNamesAreDistinct(t *testing.T) {
	pieces := []string{"A", "B", "_", "Kind", "Pid", "_Kind", "__"}
	var words []string
	for _, a := range pieces {
		words = append(words, a)
		for _, b := range pieces {
			words = append(words, a+b)
			for _, c := range pieces {
				words = append(words, a+b+c)
			}
		}
	}
	owners := make(map[string]string)
	claim := func(name, owner string) {
		t.Helper()
		if other, taken := owners[name]; taken && other != owner {
			t.Fatalf("%s names %s and %s", name, other, owner)
		}
		owners[name] = owner
	}
	for _, service := range words {
		if service[0] == '_' {
			continue // protogen puts an X in front
		}
		a := Actor(service)
		claim(a.KindVar(), "the kind of "+service)
		claim(a.PidAlias(), "the Pid of "+service)
		for _, method := range words {
			if method[0] != '_' {
				claim(a.MethodVar(method), "method "+method+" of "+service)
			}
		}
	}
}

func TestExportedNames(t *testing.T) {
	a := Actor("Account")
	for got, want := range map[string]string{
		a.Interface():     "Account",
		a.KindConst():     "AccountKind",
		a.Host():          "HostAccount",
		a.Pid():           "AccountPid",
		a.NewPid():        "NewAccountPid",
		a.Unimplemented(): "UnimplementedAccount",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
