package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
)

// notebook is the file in which a client writes down each order before it asks
// for it, and each answer. It outlives the client: whoever takes over asks
// again for what has no answer, and the audit reads what clients were told.
//
// The file is not synced: clients are killed here, and machines are not.
type notebook struct {
	file  *os.File
	notes []note
}

// note is one order as its client knows it.
type note struct {
	number uint64
	begun  time.Time
	// answer is what the bank said, or "" while it has said nothing.
	answer   answer
	answered time.Time
}

// answer is a word in a notebook.
type answer string

const (
	answerDone     answer = "done"
	answerRefused  answer = "refused"
	answerReturned answer = "returned"
	answerSent     answer = "sent"
	// answerError is for an error that says for certain that nothing was done.
	answerError answer = "error"
	// begun is no answer.
	begun = "begun"
)

// answerOf is the word for an outcome.
func answerOf(o bankv1.Outcome) answer {
	switch o {
	case bankv1.Outcome_OUTCOME_DONE:
		return answerDone
	case bankv1.Outcome_OUTCOME_REFUSED:
		return answerRefused
	case bankv1.Outcome_OUTCOME_RETURNED:
		return answerReturned
	case bankv1.Outcome_OUTCOME_SENT:
		return answerSent
	}
	return answer(strings.ToLower(o.String()))
}

// notebookPath is where a client's notebook lies.
func notebookPath(dir string, client int) string {
	return filepath.Join(dir, fmt.Sprintf("client-%d.notes", client))
}

// openNotebook opens a client's notebook, or begins it.
func openNotebook(dir string, client int) (*notebook, error) {
	path := notebookPath(dir, client)
	notes, size, err := readNotes(path)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(size); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &notebook{file: file, notes: notes}, nil
}

// readNotes reads a notebook and says how many of its bytes are whole lines. A
// client that was killed while it wrote has asked for nothing yet.
func readNotes(path string) ([]note, int64, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	var notes []note
	for line := range strings.Lines(string(data)) {
		var number uint64
		var word string
		var ms int64
		if _, err := fmt.Sscanf(line, "%d %s %d\n", &number, &word, &ms); err != nil {
			return nil, 0, fmt.Errorf("%s: the line %q is no note: %w", path, line, err)
		}
		last := len(notes) - 1
		switch {
		case word == begun:
			notes = append(notes, note{number: number, begun: time.UnixMilli(ms)})
		case last < 0 || notes[last].number != number || notes[last].answer != "":
			return nil, 0, fmt.Errorf("%s: the line %q answers nothing", path, line)
		default:
			notes[last].answer, notes[last].answered = answer(word), time.UnixMilli(ms)
		}
	}
	return notes, int64(len(data)), nil
}

// pending is the number of the order that has no answer, if there is one.
func (b *notebook) pending() (uint64, bool) {
	if last := len(b.notes) - 1; last >= 0 && b.notes[last].answer == "" {
		return b.notes[last].number, true
	}
	return 0, false
}

// begin writes down that an order is about to be asked for.
func (b *notebook) begin(number uint64) error {
	now := time.Now()
	b.notes = append(b.notes, note{number: number, begun: now})
	return b.write(number, begun, now)
}

// end writes down the answer to the order that is pending.
func (b *notebook) end(a answer) error {
	now := time.Now()
	last := &b.notes[len(b.notes)-1]
	last.answer, last.answered = a, now
	return b.write(last.number, string(a), now)
}

func (b *notebook) write(number uint64, word string, at time.Time) error {
	_, err := fmt.Fprintf(b.file, "%d %s %d\n", number, word, at.UnixMilli())
	return err
}

func (b *notebook) close() error { return b.file.Close() }
