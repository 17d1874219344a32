//go:build linux

package member

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const stoppedEnv = "CAJUN_TEST_STOPPED_PROCESS"

// A process that is stopped for longer than its lease and goes on must not pass
// Check on its old lease even once.
func TestStoppedProcess(t *testing.T) {
	if os.Getenv(stoppedEnv) != "" {
		stoppedProcess(t)
		return
	}
	if testing.Short() {
		t.Skip("stops a real process for seconds")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStoppedProcess$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), stoppedEnv+"=1")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	next := func() string {
		if !lines.Scan() {
			t.Fatalf("the process ended early: %v", lines.Err())
		}
		return lines.Text()
	}
	verdict := "inconclusive"
	for next() == "ready" && verdict == "inconclusive" {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		<-time.After(MinTTL * 3 / 2) // real time: another process is stopped
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		verdict = next()
		if verdict != "inconclusive" {
			break
		}
	}
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the process: %v", err)
	}
	if verdict != "refused" {
		t.Errorf("the first Check after the stop: %s", verdict)
	}
}

// stoppedProcess asks Check without pause and tells what the first one after a
// stop said. A stop inside of Check itself shows nothing, as Check may have
// looked at the clock before.
func stoppedProcess(t *testing.T) {
	for {
		w := newWire(t)
		s := join(t, w, func(c *Config) { c.TTL = MinTTL })
		last, verdict := time.Now(), ""
		fmt.Println("ready")
		for verdict == "" {
			before := time.Now()
			for range 1000 { // so that few stops fall inside of Check
				before = time.Now()
			}
			err := s.Check()
			after := time.Now()
			switch {
			case after.Sub(before) > MinTTL:
				verdict = "inconclusive"
			case before.Sub(last) > MinTTL && err == nil:
				verdict = "passed"
			case before.Sub(last) > MinTTL && (errors.Is(err, ErrSuspended) || errors.Is(err, ErrLost)):
				verdict = "refused"
			}
			last = after
		}
		fmt.Println(verdict)
		if verdict != "inconclusive" {
			return
		}
	}
}
