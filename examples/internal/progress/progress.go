// Package progress tells a person how far an example is.
package progress

import (
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// redrawEvery is how often a terminal shows the progress anew.
	redrawEvery = 250 * time.Millisecond
	// lineEvery is how often a file or a pipe gets a line about the progress.
	lineEvery = 3 * time.Second
)

// Say tells what happens now on standard error; standard output is for the
// result.
func Say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Show writes what line returns to w until it is stopped: in one line that
// changes on a terminal, else in a few lines.
func Show(w *os.File, line func() string) (stop func()) {
	every, begin, end := lineEvery, "", "\n"
	if isTerminal(w) {
		every, begin, end = redrawEvery, "\r", ""
	}
	stopped := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprint(w, begin, line(), end)
			case <-stopped:
				fmt.Fprint(w, begin, line(), "\n")
				return
			}
		}
	})
	return func() { close(stopped); drawing.Wait() }
}

// isTerminal tells a terminal from a file or a pipe, which keep every line.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
