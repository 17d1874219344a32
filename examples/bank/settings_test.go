package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"":                                "",
		"-json -v -seed 7":                "",
		"-nodes 2 -clients 2 -accounts 2": "",
		"-duration 4s":                    "",
		"-duration 1s -kill-every 250ms":  "",
		"-role etcd":                      "",
		"-role node -etcd http://a:1":     "",
		"-role clients -etcd http://a:1":  "",
		"-bogus":                          "flag provided but not defined: -bogus; see -help",
		"-nodes x":                        `invalid value "x" for flag -nodes: parse error; see -help`,
		"more":                            `"more" is not understood; see -help`,
		"-nodes 1":                        "-nodes 1: give 2 or more",
		"-clients 1":                      "-clients 1: give 2 or more",
		"-accounts 1":                     "-accounts 1: give 2 or more",
		"-lease 999ms":                    "-lease 999ms: give 1s or more",
		"-role node -etcd a -lease 999ms": "-lease 999ms: give 1s or more",
		"-kill-every 99ms":                "-kill-every 99ms: give 100ms or more",
		"-duration 3s":                    "-duration 3s: give 4s or more",
		"-duration 30s -kill-every 10s":   "-duration 30s: give 40s or more",
		"-role teller":                    "-role teller: there are only etcd, node and clients",
		"-role node":                      "-role node: say with -etcd where etcd is",
		"-role clients":                   "-role clients: say with -etcd where etcd is",
		"-name a":                         "-name, -etcd, -first and -until are for child processes",
		"-etcd http://a:1":                "-name, -etcd, -first and -until are for child processes",
	} {
		t.Run(args, func(t *testing.T) {
			_, err := parse(strings.Fields(args), io.Discard)
			switch {
			case want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("the error is %v; want %q", err, want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var help strings.Builder
	if _, err := parse([]string{"-help"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("the error is %v; want flag.ErrHelp", err)
	}
	if !strings.Contains(help.String(), "-duration") {
		t.Errorf("the help does not tell the flags:\n%s", &help)
	}
}

// A run without a seed draws one, and its children use the same.
func TestChildrenGetTheSettings(t *testing.T) {
	parent, err := parse([]string{"-clients", "6", "-accounts", "5", "-lease", "3s", "-dir", "d", "-v"}, io.Discard)
	if err != nil || parent.seed == 0 {
		t.Fatalf("the seed is %d: %v", parent.seed, err)
	}
	child, err := parse(append(parent.forChild(roleNode, "n"), "-etcd", "e"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := parent
	want.role, want.name, want.etcd = roleNode, "n", "e"
	if child != want {
		t.Errorf("a child has %+v; want %+v", child, want)
	}
}
