//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
)

// numbered is what the publishers of the fault tests say.
type numbered struct {
	N   uint64 `json:"n"`
	Pad string `json:"pad,omitempty"`
}

// record judges what a subscription is told of one topic from its first message on:
// messages, and the notices of losses between them.
type record struct {
	name string
	many bool // the subscription names many topics: what is counted may be of another one
	anew bool // offsets begin anew behind a notice, as the broker was another one

	mu     sync.Mutex
	offset uint64 // of the last message
	number uint64 // that was in it
	lost   int    // notices since, of an unknown number
	missed uint64 // and what was counted

	messages, notices, holes int
	wrong                    []string
}

func (r *record) complain(format string, args ...any) {
	if len(r.wrong) < 10 {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}

func (r *record) take(m client.Message) {
	var said numbered
	err := json.Unmarshal(m.Data, &said)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.complain("%s cannot be read: %v", m.Data, err)
	}
	fresh := r.anew && r.lost > 0
	if said.N <= r.number {
		r.complain("number %d after %d: a message comes twice, or out of order", said.N, r.number)
	}
	if m.Offset <= r.offset && !fresh {
		r.complain("offset %d after %d", m.Offset, r.offset)
	}
	if m.Offset > r.offset && !fresh {
		r.judge(m.Offset - r.offset - 1)
	}
	r.offset, r.number, r.lost, r.missed = m.Offset, said.N, 0, 0
	r.messages++
}

// judge looks at a place between two messages.
func (r *record) judge(hole uint64) {
	switch {
	case hole == 0 && (r.lost > 0 || r.missed > 0 && !r.many):
		r.complain("%d notices before offset %d, and %d counted, and nothing is lost there", r.lost, r.offset+1, r.missed)
	case hole > 0 && r.lost == 0 && r.missed != hole && (!r.many || r.missed < hole):
		r.complain("%d messages behind offset %d are missing, %d are said to be", hole, r.offset, r.missed)
	}
	if hole > 0 {
		r.holes++
	}
}

func (r *record) gap(g client.Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.missed += g.Missed; g.Unrecovered {
		r.lost++
		r.notices++
	}
}

// at is how far the subscription is.
func (r *record) at() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.number
}

// check says what was wrong.
func (r *record) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Empty(t, r.wrong, r.name)
}

// follow records one topic.
func follow(t *testing.T, c *client.TopicClient, name, topic string, opts ...client.SubscribeOption) *record {
	t.Helper()
	r := &record{name: name + " " + topic}
	_, err := c.Subscribe(t.Context(), topic, r.take, append(opts, client.OnGap(r.gap))...)
	require.NoError(t, err)
	return r
}

// followMany records all topics that a filter names.
func followMany(t *testing.T, c *client.TopicClient, name, filter string, topics ...string) map[string]*record {
	t.Helper()
	records := map[string]*record{}
	for _, topic := range topics {
		records[topic] = &record{name: name + " " + filter + " " + topic, many: true}
	}
	_, err := c.Subscribe(t.Context(), filter, func(m client.Message) { records[m.Topic].take(m) }, client.OnGap(func(g client.Gap) {
		for topic, r := range records {
			if g.Topic == topic || g.Topic == filter {
				r.gap(g)
			}
		}
	}))
	require.NoError(t, err)
	return records
}
