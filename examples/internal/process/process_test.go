package process_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/examples/internal/process"
)

const readyLine = "ready"

// TestMain is also the child: its first argument says how it behaves.
func TestMain(m *testing.M) {
	switch strings.Join(os.Args[1:], " ") {
	case "good":
		fmt.Println("not yet")
		fmt.Println(readyLine, "at last")
		fmt.Println("more")
		<-process.UntilStdinEnds(context.Background()).Done()
	case "bad":
		os.Exit(3)
	case "deaf":
		fmt.Println(readyLine)
		time.Sleep(time.Hour)
	default:
		os.Exit(m.Run())
	}
}

func start(t *testing.T, behaviour string, tell func(string)) *process.Process {
	t.Helper()
	p, err := process.Start(behaviour, readyLine, tell, behaviour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.FinishAll([]*process.Process{p}, 0) })
	return p
}

func TestChildEndsWell(t *testing.T) {
	lines := make(chan string, 10)
	p := start(t, "good", func(line string) { lines <- line })
	if rest, err := p.AwaitReady(t.Context()); err != nil || rest != "at last" || !p.Up() {
		t.Fatalf("it is up: %t, and says %q, %v", p.Up(), rest, err)
	}
	if line := <-lines; line != "more" {
		t.Errorf("told %q", line)
	}
	p.Finish()
	if <-p.Ended(); p.Err() != nil {
		t.Errorf("it ended with %v", p.Err())
	}
	if p.Kill() == nil {
		t.Error("it was killed after its end")
	}
}

func TestChildThatDoesNotComeUp(t *testing.T) {
	p := start(t, "bad", nil)
	if _, err := p.AwaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "bad did not come up\nexit status 3") {
		t.Errorf("the error is %v", err)
	}
	if p.Up() || p.Err() == nil {
		t.Errorf("it is up: %t, and ended with %v", p.Up(), p.Err())
	}
}

// Those who do not listen are killed.
func TestFinishAll(t *testing.T) {
	all := []*process.Process{start(t, "deaf", nil), start(t, "good", nil), start(t, "deaf", nil)}
	for _, p := range all {
		if _, err := p.AwaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	process.FinishAll(all, 100*time.Millisecond)
	for _, p := range all {
		select {
		case <-p.Ended():
		default:
			t.Errorf("%s lives on", p.Name())
		}
	}
}
