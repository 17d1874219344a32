package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		observe    func(*report)
		verdict    string
		violations int
	}{
		"nothing killed":         {func(r *report) { r.check("a", 4, 4, 4) }, verdictKept, 0},
		"within the unknown":     {func(r *report) { r.check("a", 5, 4, 5) }, verdictKept, 0},
		"one too few":            {func(r *report) { r.check("a", 3, 4, 5) }, verdictBroken, 1},
		"one too many":           {func(r *report) { r.check("a", 6, 4, 5) }, verdictBroken, 1},
		"repeated":               {func(r *report) { r.checkAtLeast("a", 9, 4) }, verdictKept, 0},
		"lost":                   {func(r *report) { r.checkAtLeast("a", 3, 4) }, verdictBroken, 1},
		"two actors":             {func(r *report) { r.check("a", 3, 4, 5); r.checkAtLeast("b", 3, 4) }, verdictBroken, 2},
		"killed and moved":       {func(r *report) { r.Killed, r.Failover = "n", 7 }, verdictKept, 0},
		"killed and not noticed": {func(r *report) { r.Killed = "n" }, verdictOpen, 0},
		"killed and broken":      {func(r *report) { r.Killed = "n"; r.check("a", 3, 4, 5) }, verdictBroken, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var r report
			test.observe(&r)
			if err := r.conclude(); (err == nil) != (test.verdict == verdictKept) {
				t.Errorf("the error is %v", err)
			}
			var out strings.Builder
			if err := r.print(&out, true); err != nil {
				t.Fatal(err)
			}
			var got struct {
				Verdict    string
				Violations int
			}
			if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
				t.Fatal(err)
			}
			if got.Verdict != test.verdict || got.Violations != test.violations {
				t.Errorf("%q with %d violations; want %q with %d", got.Verdict, got.Violations, test.verdict, test.violations)
			}
		})
	}
}

func TestFirstViolation(t *testing.T) {
	var r report
	r.check("first", 1, 2, 2)
	r.check("second", 1, 2, 2)
	if err := r.conclude(); err == nil || !strings.Contains(err.Error(), "2 promises were broken, the first: first counted 1") {
		t.Errorf("the error is %v", err)
	}
}

func TestUnknownNote(t *testing.T) {
	const byKill = "UNKNOWN: the kill left it open; at most once allows that."
	for name, test := range map[string]struct {
		observe func(*report)
		want    string
	}{
		"none":        {func(r *report) { r.Killed = "n" }, ""},
		"kill":        {func(r *report) { r.Killed, r.Calls.AtMostOnce.Unknown = "n", 1 }, byKill},
		"no kill":     {func(r *report) { r.Calls.AtMostOnce.Unknown = 1 }, "UNKNOWN: no answer came in time"},
		"other level": {func(r *report) { r.Killed, r.Calls.ExactlyOnce.Unknown = "n", 1 }, "UNKNOWN: no answer came in time"},
	} {
		t.Run(name, func(t *testing.T) {
			var r report
			test.observe(&r)
			var out strings.Builder
			if err := r.print(&out, false); err != nil {
				t.Fatal(err)
			}
			if test.want == "" && strings.Contains(out.String(), "UNKNOWN:") || !strings.Contains(out.String(), test.want) {
				t.Errorf("the note %q is wanted in:\n%s", test.want, &out)
			}
		})
	}
}
