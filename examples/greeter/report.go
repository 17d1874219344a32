package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// report is what the demonstration found.
type report struct {
	Run    string `json:"run"`
	Nodes  int    `json:"nodes"`
	Leader string `json:"leader"`
	Actors int    `json:"actors"`
	Calls  struct {
		AtMostOnce  counts `json:"at_most_once"`
		AtLeastOnce counts `json:"at_least_once"`
		ExactlyOnce counts `json:"exactly_once"`
	} `json:"calls"`
	Killed          string         `json:"killed"`
	Failover        int64          `json:"failover_ms"`
	PlacementBefore map[string]int `json:"placement_before"`
	PlacementAfter  map[string]int `json:"placement_after"`
	ExactlyOnce     struct {
		Expected int64 `json:"expected"`
		Applied  int64 `json:"applied"`
	} `json:"exactly_once"`
	Elapsed int64 `json:"elapsed_ms"`
	// Verdict is one of the verdicts below, and Violations is how many actors
	// did not keep their promise.
	Verdict    string `json:"verdict"`
	Violations int    `json:"violations"`

	// firstViolation describes the first of them.
	firstViolation string
}

const (
	verdictKept   = "kept"
	verdictBroken = "broken"
	// verdictOpen is for a kill that no greeting noticed, which proves nothing.
	verdictOpen = "open"
)

// counts are what callers were told.
type counts struct {
	Sent    int64 `json:"sent"`
	OK      int64 `json:"ok"`
	Failed  int64 `json:"failed"`
	Unknown int64 `json:"unknown"`
}

func (c *counts) add(d counts) {
	c.Sent, c.OK, c.Failed, c.Unknown = c.Sent+d.Sent, c.OK+d.OK, c.Failed+d.Failed, c.Unknown+d.Unknown
}

// check notes a violation unless the actor counted between low and high: what
// was acknowledged, and that plus what may have been executed.
func (r *report) check(actor string, counted, low, high int64) {
	if counted < low || counted > high {
		r.violated("%s counted %d greetings; its callers know of %d to %d", actor, counted, low, high)
	}
}

func (r *report) checkAtLeast(actor string, counted, low int64) {
	if counted < low {
		r.violated("%s counted %d greetings; %d were acknowledged", actor, counted, low)
	}
}

func (r *report) violated(format string, args ...any) {
	if r.Violations == 0 {
		r.firstViolation = fmt.Sprintf(format, args...)
	}
	r.Violations++
}

// conclude settles the verdict, and is nil when every promise was kept.
func (r *report) conclude() error {
	switch {
	case r.Violations > 0:
		r.Verdict = verdictBroken
		return fmt.Errorf("%d promises were broken, the first: %s", r.Violations, r.firstViolation)
	case r.Killed != "" && r.Failover == 0:
		r.Verdict = verdictOpen
		return fmt.Errorf("no actor of %s was reached after the kill: give more -calls", r.Killed)
	}
	r.Verdict = verdictKept
	return nil
}

func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nNODE\tROLE\tACTORS BEFORE\tACTORS AFTER")
	all := maps.Clone(r.PlacementBefore)
	maps.Copy(all, r.PlacementAfter)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\n", name, r.role(name), r.PlacementBefore[name], r.PlacementAfter[name])
	}
	fmt.Fprintln(t, "\nDELIVERY\tSENT\tOK\tFAILED\tUNKNOWN")
	for _, row := range []struct {
		name string
		counts
	}{{"AT_MOST_ONCE", r.Calls.AtMostOnce}, {"AT_LEAST_ONCE", r.Calls.AtLeastOnce}, {"EXACTLY_ONCE", r.Calls.ExactlyOnce}} {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", row.name, row.Sent, row.OK, row.Failed, row.Unknown)
	}
	if note := r.unknownNote(); note != "" {
		fmt.Fprintln(t, note)
	}
	fmt.Fprintln(t)
	if r.Killed != "" {
		fmt.Fprintf(t, "Killed with SIGKILL\t%s\n", r.Killed)
		fmt.Fprintf(t, "First answer from a moved actor\tafter %d ms\n", r.Failover)
	}
	fmt.Fprintf(t, "EXACTLY_ONCE calls acknowledged\t%d\n", r.ExactlyOnce.Expected)
	fmt.Fprintf(t, "EXACTLY_ONCE effects in the actors\t%d\n", r.ExactlyOnce.Applied)
	verdict := "every promise was kept"
	if err := r.conclude(); err != nil {
		verdict = "FAILED: " + err.Error()
	}
	fmt.Fprintf(t, "Verdict\t%s\n", verdict)
	fmt.Fprintf(t, "Time\t%.1f s\n", float64(r.Elapsed)/1000)
	return t.Flush()
}

// unknownNote explains the unknown calls below their table, if there are any.
func (r *report) unknownNote() string {
	others := r.Calls.AtLeastOnce.Unknown + r.Calls.ExactlyOnce.Unknown
	switch {
	case r.Calls.AtMostOnce.Unknown+others == 0:
		return ""
	case r.Killed != "" && others == 0:
		return "UNKNOWN: the kill left it open; at most once allows that."
	default:
		return "UNKNOWN: no answer came in time; the greeting may have been executed."
	}
}

func (r *report) role(name string) string {
	role := "member"
	if name == r.Leader {
		role = "leader"
	}
	if name == r.Killed {
		role = "killed"
	}
	return role
}
