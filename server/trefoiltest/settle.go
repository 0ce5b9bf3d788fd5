package trefoiltest

import (
	"context"
	"errors"
	"slices"
	"time"

	"trefoil/abstract"
)

// Settle waits until every Client and Provider has a connection to the broker again,
// with what stood on it restored: registrations, discoveries, topics, subscriptions and
// watches. What a client is told of the others, such as a provider that is back, may
// still be on its way: in a bubble, synctest.Wait waits for that; outside, WaitFor does.
// One that is not there in half a minute ends the test.
func (b *Broker) Settle() {
	b.t.Helper()
	if b.Server() == nil {
		b.t.Fatal("trefoiltest: nobody can settle while the broker is stopped; call Start first")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b.mu.Lock()
	members := slices.Clone(b.members)
	b.mu.Unlock()
	for _, c := range members {
		if err := c.settle(ctx); err != nil {
			b.t.Fatalf("trefoiltest: %s does not come back to the broker: %v", c.name, err)
		}
	}
}

// settle waits for one.
func (c *Client) settle(ctx context.Context) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := c.restored(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// restored returns nil when the broker has answered something that was asked from now
// on, and nothing is left to be restored. What is asked waits for the connection.
func (c *Client) restored(ctx context.Context) error {
	_, err := c.Nodes().Sync(ctx)
	var e *abstract.Error
	if err != nil && !(errors.As(err, &e) && e.FromPeer) { // a broker without nodes says so
		return err
	}
	if c.Restored() {
		return nil
	}
	if p := c.problem.Load(); p != nil {
		return *p
	}
	return abstract.Errorf(abstract.Disconnected, "the connection was lost again")
}

func (b *Broker) forget(c *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = slices.DeleteFunc(b.members, func(other *Client) bool { return other == c })
}
