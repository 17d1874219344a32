package main

import (
	"fmt"
	"io"
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

// showProgress tells how far the greetings are, until stopped: in one line that
// changes on a terminal, else in a few lines.
func (l *load) showProgress(w *os.File) (stop func()) {
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
				l.draw(w, begin, end)
			case <-stopped:
				l.draw(w, begin, "\n")
				return
			}
		}
	})
	return func() { close(stopped); drawing.Wait() }
}

func (l *load) draw(w io.Writer, begin, end string) {
	var ok, failed, unknown int64
	for i := range l.actors {
		b := &l.actors[i]
		ok, failed, unknown = ok+b.ok.Load(), failed+b.failed.Load(), unknown+b.unknown.Load()
	}
	note := ""
	if l.killed.Load() != 0 {
		note = ", one node killed"
	}
	fmt.Fprintf(w, "%s  %5d of %d greetings: %d ok, %d failed, %d unknown%s%s", begin, ok+failed+unknown, l.settings.calls, ok, failed, unknown, note, end)
}

// isTerminal tells a terminal from a file or a pipe, which keep every line.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
