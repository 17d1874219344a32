package guarantee

import "time"

// Defaults of a RetryPolicy.
const (
	DefaultInitialBackoff = 10 * time.Millisecond
	DefaultMaxBackoff     = time.Second
)

// RetryPolicy shapes the pauses between the attempts of one call. Zero fields
// stand for the defaults.
type RetryPolicy struct {
	// InitialBackoff bounds the first pause.
	InitialBackoff time.Duration
	// MaxBackoff bounds every pause.
	MaxBackoff time.Duration
	// MaxAttempts bounds the number of attempts; 0 leaves only the deadline.
	MaxAttempts int
}

// Pause returns how long to wait before attempt n+1, after attempt n (from 1)
// failed. random is a draw from [0, 1): the pause is "full jitter", uniform
// between zero and the doubled backoff, which spreads callers that failed
// together (Brooker, "Exponential Backoff and Jitter", AWS, 2015).
func (p RetryPolicy) Pause(n int, random float64) time.Duration {
	backoff, limit := p.InitialBackoff, p.MaxBackoff
	if backoff <= 0 {
		backoff = DefaultInitialBackoff
	}
	if limit <= 0 {
		limit = DefaultMaxBackoff
	}
	for i := 1; i < n && backoff < limit; i++ {
		backoff *= 2
	}
	return time.Duration(random * float64(min(backoff, limit)))
}

// Allows reports whether attempt n (from 1) may be made.
func (p RetryPolicy) Allows(n int) bool {
	return p.MaxAttempts <= 0 || n <= p.MaxAttempts
}
