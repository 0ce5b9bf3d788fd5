package client

// Restored says whether the connection is up and all that stood on it is there again.
// After the broker has lost its memory that may take longer than connecting: a topic is
// there when whoever has created it is back, and those who are subscribed try again
// until then; OnProblem tells of them.
func (c *Conn) Restored() bool {
	return c.Connected() && !c.topics.retries() && !c.registrations.retries()
}

func (t *topics) retries() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.retrying)+t.resuming > 0
}

func (r *registrations) retries() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.retrying) > 0
}
