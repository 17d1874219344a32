package main

import (
	"fmt"
	"math/rand/v2"
)

const (
	// openingCents is what every account begins with.
	openingCents = 100_00
	// mostCents is the largest sum that is moved at once. Now and then there is
	// too little in an account.
	mostCents = 30_00
	// nobody is an account that is never opened. What is sent there comes back,
	// and one in nobodyPart orders is.
	nobody     = "nobody"
	nobodyPart = 16
)

// plan says what clients ask for. It is a function of the order's number, so
// that a client that comes back from the dead repeats what it asked for before.
type plan struct {
	seed     uint64
	accounts int
	clients  int
}

// order is one customer's wish to move money.
type order struct {
	number   uint64
	from, to string
	cents    int64
	// transfer says that an actor of its own moves the money, and not the
	// account that it comes from.
	transfer bool
}

// number is the one of the i-th order of a client; both count from 0.
func (p plan) number(client, i int) uint64 { return uint64(i*p.clients + client + 1) }

// order is what a number stands for.
func (p plan) order(number uint64) order {
	rnd := rand.New(rand.NewPCG(p.seed, number))
	from := rnd.IntN(p.accounts)
	to := (from + 1 + rnd.IntN(p.accounts-1)) % p.accounts
	o := order{
		number:   number,
		from:     accountKey(from),
		to:       accountKey(to),
		cents:    1 + rnd.Int64N(mostCents),
		transfer: rnd.IntN(2) == 0,
	}
	if rnd.IntN(nobodyPart) == 0 {
		o.to = nobody
	}
	return o
}

// accountKey names the i-th account.
func accountKey(i int) string { return fmt.Sprintf("account-%03d", i) }

// customers are the accounts that orders move money between.
func (p plan) customers() []string {
	keys := make([]string, p.accounts)
	for i := range keys {
		keys[i] = accountKey(i)
	}
	return keys
}
