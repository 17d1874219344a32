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

	// violations are promises that were not kept.
	violations []string
}

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
		r.violations = append(r.violations, fmt.Sprintf("%s counted %d greetings; its callers know of %d to %d", actor, counted, low, high))
	}
}

func (r *report) checkAtLeast(actor string, counted, low int64) {
	if counted < low {
		r.violations = append(r.violations, fmt.Sprintf("%s counted %d greetings; %d were acknowledged", actor, counted, low))
	}
}

// verdict is nil when every promise was kept.
func (r *report) verdict() error {
	if n := len(r.violations); n > 0 {
		return fmt.Errorf("%d promises were broken, the first: %s", n, r.violations[0])
	}
	if r.Killed != "" && r.Nodes > 1 && r.Failover == 0 {
		return fmt.Errorf("no actor of %s was reached after the kill: give more -calls", r.Killed)
	}
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
	fmt.Fprintln(t)
	if r.Killed != "" {
		fmt.Fprintf(t, "Killed with SIGKILL\t%s\n", r.Killed)
		fmt.Fprintf(t, "First answer from a moved actor\tafter %d ms\n", r.Failover)
	}
	fmt.Fprintf(t, "EXACTLY_ONCE calls acknowledged\t%d\n", r.ExactlyOnce.Expected)
	fmt.Fprintf(t, "EXACTLY_ONCE effects in the actors\t%d\n", r.ExactlyOnce.Applied)
	verdict := "every promise was kept"
	if err := r.verdict(); err != nil {
		verdict = "FAILED: " + err.Error()
	}
	fmt.Fprintf(t, "Verdict\t%s\n", verdict)
	fmt.Fprintf(t, "Time\t%.1f s\n", float64(r.Elapsed)/1000)
	return t.Flush()
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
