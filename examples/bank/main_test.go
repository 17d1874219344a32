package main

import (
	"fmt"
	"io"
	"os"
	"testing"
)

// asChild makes this test binary a child of a test: the next argument says
// how it behaves.
const asChild = "child"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == asChild {
		os.Exit(childMain(os.Args[2]))
	}
	os.Exit(m.Run())
}

func childMain(behaviour string) int {
	switch behaviour {
	case "good":
		fmt.Println(readyLine, "I am", os.Getpid())
	case "unready":
		return 1
	case "crashing":
		panic("rehearsed")
	}
	fmt.Println("and more")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}
