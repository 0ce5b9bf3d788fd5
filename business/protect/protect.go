// Package protect keeps callers and servers from harming each other when
// something is slow or down.
//
// For callers there are Budget, which bounds retries and other extra calls by a part of
// the calls; Backoff, the pauses between retries; Hedge, which says when to ask a
// second provider for an answer that takes long; Breaker, which stops calls to one
// provider for a while; and Margin, what is left of a deadline for the next call.
// For servers, and for callers that limit themselves, there are RateLimiter and RateLimiters,
// Concurrency and Concurrencies, Queue, which sheds requests that wait too long, and
// Adaptive, which finds out how many calls at once are good. The plural ones keep
// one for each identity.
//
// Nothing here knows a socket or a clock, nor waits: the time is a parameter,
// random numbers can be given, and the answer says what to do. Everything is safe for
// concurrent use, takes bounded memory, and allocates nothing when all is well.
package protect

import (
	"math/rand/v2"
	"time"
)

// Rand returns random numbers, all 64 bits of them. It must be safe for
// concurrent use. Nil stands for math/rand/v2's Uint64.
type Rand func() uint64

// upTo is a random time from 0 to most.
func (r Rand) upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	if r == nil {
		r = rand.Uint64
	}
	return time.Duration(r() % uint64(most+1))
}

// or returns v, or what stands for zero.
func or[T ~int | ~int64 | ~float64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
