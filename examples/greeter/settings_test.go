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
		"":                            "",
		"-json -v":                    "",
		"-nodes 2":                    "",
		"-nodes 0 -etcd http://a:1":   "",
		"-etcd http://a:1,http://b:2": "",
		"-serve -name a -listen :0":   "",
		"-serve -until-stdin-ends":    "",
		"-lease 1s":                   "",
		"-gateway 127.0.0.1:0":        "",
		"-serve -gateway :8080":       "",
		"-serve -gateway 8080":        "-gateway 8080: give it as host:port",
		"-bogus":                      "flag provided but not defined: -bogus; see -help",
		"-nodes x":                    `invalid value "x" for flag -nodes: parse error; see -help`,
		"more":                        `"more" is not understood; see -help`,
		"-nodes 1":                    "-nodes 1: give -nodes 2 or more, as one is killed, or 0 to use nodes that run already",
		"-nodes 1 -etcd http://a:1":   "-nodes 1: give -nodes 2 or more, as one is killed, or 0 to use nodes that run already",
		"-nodes -1":                   "-nodes -1: give -nodes 2 or more",
		"-nodes 0":                    "say with -etcd where they meet",
		"-actors 2":                   "-actors 2: give 3 or more",
		"-actors 10 -calls 9":         "-calls 9: give 10 or more",
		"-callers 0":                  "-callers 0: give 1 or more",
		"-lease 999ms":                "-lease 999ms: give 1s or more",
		"-serve -lease 999ms":         "-lease 999ms: give 1s or more",
		"-cluster=":                   `-cluster "": `,
		"-cluster a/b":                `-cluster "a/b": `,
		"-serve -cluster a/b":         `-cluster "a/b": `,
		"-etcd http://a:1,":           "-etcd \"http://a:1,\": there is an empty endpoint",
		"-serve -etcd ,":              `-etcd ",": there is an empty endpoint`,
		"-name a":                     "-name a: only a node has a name: give -serve too",
		"-listen :0":                  "-listen :0: only a node listens: give -serve too",
		"-until-stdin-ends":           "-until-stdin-ends: only for a node: give -serve too",
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
	if !strings.Contains(help.String(), "-nodes") {
		t.Errorf("the help does not tell the flags:\n%s", &help)
	}
}
