package jetstream

import (
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// answers takes the server's answers to what is published: one subscription for all logs,
// as one for each group of entries costs more than a small group itself.
type answers struct {
	prefix string // of every subject that is answered to

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan numbered
}

// numbered is the answer to one message of a group.
type numbered struct {
	i int
	m *nats.Msg
}

func newAnswers(nc *nats.Conn) (*answers, error) {
	a := &answers{prefix: nats.NewInbox() + ".", waiting: make(map[uint64]chan numbered)}
	sub, err := nc.Subscribe(a.prefix+"*.*", a.take)
	if err != nil {
		return nil, err
	}
	return a, sub.SetPendingLimits(-1, -1) // there is one for each message that waits, no more
}

// group expects answers to n messages, and returns where they are answered to: add the
// message's number. Call leave when nobody waits any longer.
func (a *answers) group(n int) (to string, answered <-chan numbered, leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	id, ch := a.last, make(chan numbered, n)
	a.waiting[id] = ch
	return a.prefix + strconv.FormatUint(id, 36) + ".", ch, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.waiting, id)
	}
}

// take passes on an answer. One that nobody waits for, or that comes twice, is dropped.
func (a *answers) take(m *nats.Msg) {
	group, number, _ := strings.Cut(strings.TrimPrefix(m.Subject, a.prefix), ".")
	id, err := strconv.ParseUint(group, 36, 64)
	i, wrong := strconv.Atoi(number)
	if err != nil || wrong != nil {
		return
	}
	a.mu.Lock()
	ch := a.waiting[id]
	a.mu.Unlock()
	select {
	case ch <- numbered{i, m}:
	default:
	}
}
