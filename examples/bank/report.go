package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// report is what the demonstration found.
type report struct {
	Seed     uint64 `json:"seed"`
	Nodes    int    `json:"nodes"`
	Clients  int    `json:"clients"`
	Accounts int    `json:"accounts"`
	Killed   struct {
		Nodes   int64 `json:"nodes"`
		Clients int64 `json:"client_processes"`
		Etcd    int64 `json:"etcd"`
	} `json:"killed"`
	// Unasked counts processes that ended without having been killed.
	Unasked int `json:"ended_unasked"`
	// Crashed counts those of them that ended by a panic or a signal.
	Crashed int `json:"crashed"`
	// Orders are what clients asked for, by the answer that they got.
	Orders struct {
		Asked      int `json:"asked"`
		Answered   int `json:"acknowledged"`
		Unanswered int `json:"unanswered"`
		Done       int `json:"transfers_done"`
		Returned   int `json:"transfers_returned"`
		Sent       int `json:"sent_one_way"`
		Refused    int `json:"refused"`
		Errors     int `json:"errors"`
	} `json:"orders"`
	Notifications int `json:"notifications"`
	Ticks         struct {
		All int `json:"all"`
		// Least and Most are those of one timer, and Possible is how many due
		// times each had.
		Least    int `json:"least"`
		Most     int `json:"most"`
		Possible int `json:"possible"`
	} `json:"ticks"`
	Cents struct {
		Opened   int64 `json:"opened_with"`
		Found    int64 `json:"found"`
		Interest int64 `json:"interest_paid"`
	} `json:"cents"`
	// Silence is the longest time in which no client got an answer, and Slowest
	// the longest that one of them waited for one.
	Silence int64 `json:"longest_silence_ms"`
	Slowest int64 `json:"slowest_answer_ms"`
	// Settled is how long the audit took until all that was on its way had come.
	Settled int64 `json:"settled_ms"`
	Elapsed int64 `json:"elapsed_ms"`
	// Verdict is one of the verdicts below, and Violations is how many times a
	// promise was broken.
	Verdict    string   `json:"verdict"`
	Violations int      `json:"violations"`
	Complaints []string `json:"complaints,omitempty"`
}

const (
	verdictKept   = "kept"
	verdictBroken = "broken"
	// verdictOpen is for a run that proves nothing.
	verdictOpen = "open"
	// mostComplaints is how many violations the report tells in words.
	mostComplaints = 20
)

func newReport(s settings) report {
	return report{Seed: s.seed, Nodes: s.nodes, Clients: s.clients, Accounts: s.accounts}
}

// countEnds counts the processes that have ended.
func (r *report) countEnds(c *crowd) {
	r.Killed.Nodes, r.Killed.Clients, r.Killed.Etcd = c.killed.nodes.Load(), c.killed.clients.Load(), c.killed.etcd.Load()
	if r.Unasked, r.Crashed = c.ends(); r.Crashed > 0 {
		r.violated(fmt.Sprintf("%d processes have crashed; what they said is above", r.Crashed))
	}
}

// describe fills in the numbers of the evidence, whose notes are in the order
// of their answers.
func (r *report) describe(e *evidence) {
	r.Orders.Asked = len(e.notes)
	var lastAnswer time.Time
	for _, n := range e.notes {
		if n.answer == "" {
			r.Orders.Unanswered++
			continue
		}
		r.Orders.Answered++
		r.countAnswer(n.answer)
		r.Slowest = max(r.Slowest, n.answered.Sub(n.begun).Milliseconds())
		if !lastAnswer.IsZero() {
			r.Silence = max(r.Silence, n.answered.Sub(lastAnswer).Milliseconds())
		}
		lastAnswer = n.answered
	}
	for _, inbox := range e.inboxes {
		r.Notifications += len(inbox)
	}
	r.Cents.Opened, r.Cents.Found = e.opened(), e.found()
	r.Ticks.Possible = e.mostTicks
	for i, key := range e.plan.customers() {
		a := e.accounts[key]
		r.Cents.Interest += a.GetInterestReceived()
		ticks := len(a.GetTicks())
		r.Ticks.All += ticks
		r.Ticks.Most = max(r.Ticks.Most, ticks)
		if i == 0 || ticks < r.Ticks.Least {
			r.Ticks.Least = ticks
		}
	}
}

func (r *report) countAnswer(a answer) {
	switch a {
	case answerDone:
		r.Orders.Done++
	case answerReturned:
		r.Orders.Returned++
	case answerSent:
		r.Orders.Sent++
	case answerRefused:
		r.Orders.Refused++
	default:
		r.Orders.Errors++
	}
}

// violated notes broken promises.
func (r *report) violated(complaints ...string) {
	r.Violations += len(complaints)
	room := mostComplaints - len(r.Complaints)
	r.Complaints = append(r.Complaints, complaints[:min(room, len(complaints))]...)
}

// conclude settles the verdict, and is nil when every promise was kept.
func (r *report) conclude() error {
	switch {
	case r.Violations > 0:
		r.Verdict = verdictBroken
		return fmt.Errorf("%d promises were broken, the first: %s", r.Violations, r.Complaints[0])
	case r.Orders.Unanswered > 0:
		r.Verdict = verdictOpen
		return fmt.Errorf("%d orders were never answered", r.Orders.Unanswered)
	case r.Orders.Done == 0 || r.Orders.Sent == 0 || r.Ticks.All == 0:
		r.Verdict = verdictOpen
		return errors.New("no money was moved by transfers, none by sending, or no timer fired: give a longer -duration")
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
	fmt.Fprintln(t)
	for _, row := range []struct {
		what   string
		format string
		values []any
	}{
		{"Killed with SIGKILL", "%d nodes, %d client processes, %d etcd", []any{r.Killed.Nodes, r.Killed.Clients, r.Killed.Etcd}},
		{"Ended by themselves", "%d, %d of them by a crash", []any{r.Unasked, r.Crashed}},
		{"Orders", "%d asked for, %d acknowledged", []any{r.Orders.Asked, r.Orders.Answered}},
		{"  transfers of two nested calls", "%d done, %d returned", []any{r.Orders.Done, r.Orders.Returned}},
		{"  debit and one-way credit", "%d sent", []any{r.Orders.Sent}},
		{"  without effect", "%d refused, %d errors", []any{r.Orders.Refused, r.Orders.Errors}},
		{"Notifications", "%d", []any{r.Notifications}},
		{"Ticks", "%d of %d timers: %d to %d each, for at most %d due times", []any{r.Ticks.All, r.Accounts, r.Ticks.Least, r.Ticks.Most, r.Ticks.Possible}},
		{"Interest", "%v", []any{money(r.Cents.Interest)}},
		{"Money", "%v put in, %v found", []any{money(r.Cents.Opened), money(r.Cents.Found)}},
		{"Longest time without any answer", "%d ms", []any{r.Silence}},
		{"Slowest answer", "%d ms", []any{r.Slowest}},
	} {
		fmt.Fprintf(t, "%s\t"+row.format+"\n", append([]any{row.what}, row.values...)...)
	}
	verdict := "every promise was kept"
	if err := r.conclude(); err != nil {
		verdict = "FAILED: " + err.Error()
	}
	fmt.Fprintf(t, "Verdict\t%s\n", verdict)
	fmt.Fprintf(t, "Time\t%.1f s, with -seed %d\n", float64(r.Elapsed)/1000, r.Seed)
	return t.Flush()
}
