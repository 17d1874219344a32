package memlink

import "time"

// leastHold is by how much a frame that changes places is held back at most
// when frames have no delay otherwise.
const leastHold = time.Millisecond

// fate decides when the copies of the next frame arrive: none when it is lost,
// two when it is repeated. It always draws equally often, so that the fate of
// a frame does not depend on which faults are on.
func (in *inbox) fate(now time.Time) []time.Time {
	loss, duplicate, reorder := in.random.Float64(), in.random.Float64(), in.random.Float64()
	delay, again, hold := in.random.Float64(), in.random.Float64(), in.random.Float64()
	p := in.plan
	if loss < p.Loss {
		return nil
	}
	due := now.Add(scale(delay, p.Delay))
	if reorder < p.Reorder {
		// Those behind it overtake it.
		due = due.Add(scale(hold, max(p.Delay, leastHold)))
	} else {
		if due.Before(in.lastDue) {
			due = in.lastDue
		}
		in.lastDue = due
	}
	if duplicate < p.Duplicate {
		return []time.Time{due, due.Add(scale(again, max(p.Delay, leastHold)))}
	}
	return []time.Time{due}
}

func scale(share float64, d time.Duration) time.Duration {
	return time.Duration(share * float64(d))
}

// letter is a frame on its way.
type letter struct {
	due   time.Time
	order uint64
	frame []byte
}

// delayed is a heap of letters, the next one to arrive first.
type delayed []letter

func (d delayed) Len() int { return len(d) }

func (d delayed) Less(i, j int) bool {
	if d[i].due.Equal(d[j].due) {
		return d[i].order < d[j].order
	}
	return d[i].due.Before(d[j].due)
}

func (d delayed) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

func (d *delayed) Push(x any) { *d = append(*d, x.(letter)) }

func (d *delayed) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	(*d)[last] = letter{}
	*d = (*d)[:last]
	return x
}
