package main

import (
	"os"
	"testing"
)

// A client that comes back finds what it was about, also when the one before
// was killed in the middle of a line.
func TestNotebookOutlivesItsClient(t *testing.T) {
	dir := t.TempDir()
	b := reopen(t, dir)
	if _, pending := b.pending(); pending {
		t.Error("something is pending in an empty notebook")
	}
	for _, step := range []func() error{
		func() error { return b.begin(3) },
		func() error { return b.end(answerSent) },
		func() error { return b.begin(11) },
		func() error { return os.WriteFile(notebookPath(dir, 1), append(content(t, dir), "11 do"...), 0o600) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	b = reopen(t, dir)
	if number, pending := b.pending(); !pending || number != 11 {
		t.Fatalf("%d is pending: %t; want 11", number, pending)
	}
	if err := b.end(answerDone); err != nil {
		t.Fatal(err)
	}
	b = reopen(t, dir)
	if _, pending := b.pending(); pending || len(b.notes) != 2 || b.notes[0].answer != answerSent || b.notes[1].answer != answerDone {
		t.Errorf("the notes are %v, and one is pending: %t", b.notes, pending)
	}
	if b.notes[1].answered.Before(b.notes[1].begun) {
		t.Errorf("answered before it was begun: %v", b.notes[1])
	}
}

func TestNotebookRefusesNonsense(t *testing.T) {
	for name, text := range map[string]string{
		"no note":        "hello\n",
		"no number":      "x done 1\n",
		"no question":    "1 done 1\n",
		"another's":      "1 begun 1\n2 done 1\n",
		"answered twice": "1 begun 1\n1 done 1\n1 done 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(notebookPath(dir, 1), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if b, err := openNotebook(dir, 1); err == nil {
				t.Errorf("it was read as %v", b.notes)
			}
		})
	}
}

func reopen(t *testing.T, dir string) *notebook {
	t.Helper()
	b, err := openNotebook(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return b
}

func content(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(notebookPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
