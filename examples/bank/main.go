// The bank example shows that effects happen exactly once along whole chains of
// calls, whoever dies in between. It starts an etcd, three nodes and eight
// clients in processes of their own, and moves money between accounts: by
// transfers, which are actors of their own and make two calls that wait, and by
// accounts that debit themselves and send the money by a one-way call. Timers
// pay interest, and each sum that arrives is notified. Meanwhile it kills a
// node with SIGKILL every second, now and then a process of clients, and once
// etcd, and starts them again. Clients repeat under their own keys what they
// have no answer to. At the end it audits: no cent was made or lost, every order
// was carried out once, every answer was true, and timers fired once each time.
//
//	go run ./examples/bank
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	s, err := parse(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bank:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bank:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	switch s.role {
	case roleEtcd:
		return serveEtcd(ctx, s)
	case roleNode:
		return serveNode(ctx, s)
	case roleClients:
		return serveClients(ctx, s)
	}
	return demonstrate(ctx, s)
}
