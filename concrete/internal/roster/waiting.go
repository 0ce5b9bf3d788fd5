package roster

import (
	"context"
	"time"
)

// Within bounds a wait that has no deadline.
func Within(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, most)
}

// Await waits until there is an answer, even if ctx is over when there is one. The error is
// ctx's, or that of life, the registry's own.
func (r *Roster) Await(ctx, life context.Context) error {
	select {
	case <-r.first:
		return nil
	default:
	}
	select {
	case <-r.first:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-life.Done():
		return life.Err()
	}
}
