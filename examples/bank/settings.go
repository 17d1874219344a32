package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/cajun-go/cajun/member"
)

// What a child process is. The parent has no role.
const (
	roleEtcd    = "etcd"
	roleNode    = "node"
	roleClients = "clients"
)

// settings are the flags.
type settings struct {
	nodes, clients, accounts int
	duration, killEvery      time.Duration
	seed                     uint64
	leaseTTL                 time.Duration
	dir                      string
	json, verbose            bool

	// What only children are told.
	role, name, etcd, listen string
	first, until             int
}

// parse reads the flags and refuses what cannot work. Help goes to the given
// writer, and the error is flag.ErrHelp then.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("bank", flag.ContinueOnError)
	f.IntVar(&s.nodes, "nodes", 3, "how many node processes to start, 2 or more")
	f.IntVar(&s.clients, "clients", 8, "how many clients order at once, in two processes")
	f.IntVar(&s.accounts, "accounts", 32, "how many accounts there are")
	f.DurationVar(&s.duration, "duration", 30*time.Second, "for how long processes are killed")
	f.DurationVar(&s.killEvery, "kill-every", time.Second, "how often a node is killed")
	f.Uint64Var(&s.seed, "seed", 0, "decides who orders what and who is killed; 0 draws one")
	f.DurationVar(&s.leaseTTL, "lease", 2*time.Second, "how long the cluster waits for a silent node")
	f.StringVar(&s.dir, "dir", "", "empty folder for the data of etcd and the clients' notebooks, which stay there; else a temporary one")
	f.BoolVar(&s.json, "json", false, "print the result as one JSON object")
	f.BoolVar(&s.verbose, "v", false, "log what the processes do")
	f.StringVar(&s.role, "role", "", "what a child process is; the example starts them by itself")
	f.StringVar(&s.name, "name", "", "with -role: the child's name")
	f.StringVar(&s.etcd, "etcd", "", "with -role node and clients: where etcd is")
	f.StringVar(&s.listen, "listen", "127.0.0.1:0", "with -role etcd: address for the others")
	f.IntVar(&s.first, "first", 0, "with -role clients: the first client")
	f.IntVar(&s.until, "until", 0, "with -role clients: the one after the last client")
	f.SetOutput(io.Discard) // the flag set would print each error and all flags before main prints the error
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(help, "Usage of bank:")
		f.SetOutput(help)
		f.PrintDefaults()
		return s, err
	case err != nil:
		return s, fmt.Errorf("%w; see -help", err)
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not understood; see -help", f.Arg(0))
	}
	for s.seed == 0 {
		s.seed = rand.Uint64()
	}
	return s, s.check()
}

// check returns what is wrong with the first flag that cannot work.
func (s settings) check() error {
	switch {
	case s.leaseTTL < member.MinTTL:
		return fmt.Errorf("-lease %v: give %v or more", s.leaseTTL, member.MinTTL)
	case s.nodes < 2:
		return fmt.Errorf("-nodes %d: give 2 or more, as they are killed in turn", s.nodes)
	case s.clients < clientProcesses:
		return fmt.Errorf("-clients %d: give %d or more, one for each of their processes", s.clients, clientProcesses)
	case s.accounts < 2:
		return fmt.Errorf("-accounts %d: give 2 or more, or there is nobody to pay", s.accounts)
	case s.killEvery < 100*time.Millisecond:
		return fmt.Errorf("-kill-every %v: give 100ms or more, or no node comes up in between", s.killEvery)
	case s.duration < leastKills*s.killEvery:
		return fmt.Errorf("-duration %v: give %v or more, so that nodes, clients and etcd are killed", s.duration, leastKills*s.killEvery)
	}
	return s.checkRole()
}

// checkRole returns what is wrong with the flags of a child.
func (s settings) checkRole() error {
	switch s.role {
	case "":
		if s.name != "" || s.etcd != "" || s.first != 0 || s.until != 0 {
			return errors.New("-name, -etcd, -first and -until are for child processes: leave them out")
		}
		return nil
	case roleEtcd:
		return nil
	case roleNode, roleClients:
		if s.etcd == "" {
			return fmt.Errorf("-role %s: say with -etcd where etcd is", s.role)
		}
		return nil
	}
	return fmt.Errorf("-role %s: there are only %s, %s and %s", s.role, roleEtcd, roleNode, roleClients)
}

// plan is what the clients ask for.
func (s settings) plan() plan { return plan{seed: s.seed, accounts: s.accounts, clients: s.clients} }

// forChild are the flags that every child is started with.
func (s settings) forChild(role, name string) []string {
	args := []string{
		"-role", role, "-name", name, "-dir", s.dir,
		"-seed", fmt.Sprint(s.seed), "-clients", fmt.Sprint(s.clients), "-accounts", fmt.Sprint(s.accounts),
		"-lease", s.leaseTTL.String(),
	}
	if s.verbose {
		args = append(args, "-v")
	}
	return args
}

// logger logs to standard error with -v. Without, nothing is said of what goes
// wrong, as most of it was killed on purpose.
func (s settings) logger() *slog.Logger {
	if !s.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}
