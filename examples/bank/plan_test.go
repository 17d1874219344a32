package main

import "testing"

// A client that comes back asks for the same again.
func TestOrdersAreFunctionsOfTheirNumbers(t *testing.T) {
	p, other := plan{seed: 7, accounts: 3, clients: 2}, plan{seed: 8, accounts: 3, clients: 2}
	seen := make(map[uint64]bool)
	same, transfers, toNobody := 0, 0, 0
	const orders = 1000
	for i := range orders {
		number := p.number(i%2, i/2)
		if number == 0 || seen[number] {
			t.Fatalf("the number %d is no new one", number)
		}
		seen[number] = true
		o := p.order(number)
		if o != p.order(number) {
			t.Fatalf("%v is another order the next time", o)
		}
		if o == other.order(number) {
			same++
		}
		if o.from == o.to || o.cents <= 0 || o.cents > mostCents {
			t.Fatalf("%v moves nothing, or too much", o)
		}
		if o.transfer {
			transfers++
		}
		if o.to == nobody {
			toNobody++
		}
	}
	if same > orders/10 {
		t.Errorf("another seed gives %d equal orders of %d", same, orders)
	}
	if transfers < orders/3 || transfers > orders*2/3 || toNobody < orders/nobodyPart/2 || toNobody > orders/nobodyPart*2 {
		t.Errorf("%d orders are transfers and %d for nobody, of %d", transfers, toNobody, orders)
	}
}
