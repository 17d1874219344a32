package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		observe    func(*report)
		verdict    string
		violations int
	}{
		"all kept":            {func(*report) {}, verdictKept, 0},
		"broken":              {func(r *report) { r.violated("one", "two") }, verdictBroken, 2},
		"never answered":      {func(r *report) { r.Orders.Unanswered = 1 }, verdictOpen, 0},
		"broken and open":     {func(r *report) { r.Orders.Unanswered = 1; r.violated("one") }, verdictBroken, 1},
		"no transfer":         {func(r *report) { r.Orders.Done = 0 }, verdictOpen, 0},
		"nothing sent":        {func(r *report) { r.Orders.Sent = 0 }, verdictOpen, 0},
		"no tick":             {func(r *report) { r.Ticks.All = 0 }, verdictOpen, 0},
		"more than told":      {func(r *report) { r.violated(make([]string, 2*mostComplaints)...) }, verdictBroken, 2 * mostComplaints},
		"more than told, too": {func(r *report) { r.violated("one"); r.violated(make([]string, mostComplaints)...) }, verdictBroken, 1 + mostComplaints},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReport(settings{})
			r.Orders.Done, r.Orders.Sent, r.Ticks.All = 1, 1, 1
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
				Complaints []string
			}
			if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
				t.Fatal(err)
			}
			if got.Verdict != test.verdict || got.Violations != test.violations || len(got.Complaints) > mostComplaints {
				t.Errorf("%q with %d violations, %d told; want %q with %d", got.Verdict, got.Violations, len(got.Complaints), test.verdict, test.violations)
			}
		})
	}
}

func TestReportForPeople(t *testing.T) {
	for name, test := range map[string]struct {
		observe func(*report)
		want    string
	}{
		"kept":   {func(*report) {}, "every promise was kept"},
		"broken": {func(r *report) { r.violated("a cent is gone") }, "FAILED: 1 promises were broken, the first: a cent is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReport(settings{seed: 42})
			r.Orders.Done, r.Orders.Sent, r.Ticks.All = 1, 1, 1
			r.Cents.Opened = -1205
			test.observe(&r)
			var out strings.Builder
			if err := r.print(&out, false); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{test.want, "-seed 42", "-12.05 put in"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, &out)
				}
			}
		})
	}
}

// The notes come in the order of their answers.
func TestDescribe(t *testing.T) {
	l := newLedger(t)
	at := func(ms int64) time.Time { return time.UnixMilli(1000 + ms) }
	l.notes = []note{
		{number: 9, begun: at(300)},
		{number: 1, begun: at(0), answer: answerDone, answered: at(10)},
		{number: 2, begun: at(0), answer: answerSent, answered: at(90)},
		{number: 3, begun: at(10), answer: answerRefused, answered: at(100)},
		{number: 4, begun: at(10), answer: answerReturned, answered: at(110)},
		{number: 5, begun: at(90), answer: answerError, answered: at(150)},
	}
	l.tick(accountKey(0), 100, 5)
	r := newReport(settings{})
	r.describe(l.evidence)
	got := fmt.Sprint(r.Orders, r.Silence, r.Slowest, r.Ticks, r.Cents)
	if want := "{6 5 1 1 1 1 1 1} 80 100 {9 2 3 3} {50000 50000 85}"; got != want {
		t.Errorf("the report has %s; want %s", got, want)
	}
}
