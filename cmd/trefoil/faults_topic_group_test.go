//go:build unix

package main

import (
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// crew is the members of a queue group, and what each of them is at.
type crew struct {
	mu   sync.Mutex
	busy []bool
	done []int
	seen map[string]int
}

// begin notes that a member has a message, and the end of the last one it had.
func (c *crew) begin(member int, m client.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[member] = true
	c.seen[string(m.Data)]++
}

func (c *crew) end(member int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[member] = false
	c.done[member]++
}

// idle returns how much each member has done, and -1 for those that are busy.
func (c *crew) idle() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := append([]int(nil), c.done...)
	for i, busy := range c.busy {
		if busy {
			list[i] = -1
		}
	}
	return list
}

// all is how many messages have been seen.
func (c *crew) all() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// TestMembersOfUnevenSpeedAreNotIdleWhileMessagesWait has ten members, of which the slowest
// takes a hundred times as long as the fastest. Whoever is idle when the broker says that
// messages wait has begun one a few questions later.
func TestMembersOfUnevenSpeedAreNotIdleWhileMessagesWait(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	near := dialFar(t, broker)
	require.NoError(t, near.Create(t.Context(), "jobs"))
	speeds := []int{1, 2, 3, 5, 8, 13, 21, 34, 55, 100}
	c := &crew{busy: make([]bool, len(speeds)), done: make([]int, len(speeds)), seen: map[string]int{}}
	for i, takes := range speeds {
		_, err := dialFar(t, broker).Subscribe(t.Context(), "jobs", func(m client.Message) {
			c.begin(i, m)
			work := time.NewTimer(time.Duration(takes) * time.Millisecond)
			<-work.C
			c.end(i)
		}, client.QueueGroup("crew"))
		require.NoError(t, err)
	}
	const patient = 1000 // questions: far more than a message takes to a member that is idle
	jobs := long(2000, 5000)
	for i := range jobs {
		require.NoError(t, near.Publish(t.Context(), "jobs", i))
	}
	waited, most := make([]int, len(speeds)), 0
	last := c.idle()
	for c.all() < jobs {
		info, err := near.Info(t.Context(), "jobs")
		require.NoError(t, err)
		now := c.idle()
		for i := range now {
			if now[i] < 0 || now[i] != last[i] || info.Groups[0].Waiting == 0 {
				waited[i] = 0
				continue
			}
			waited[i]++
			most = max(most, waited[i])
			require.Less(t, waited[i], patient, "member %d is idle while %d messages wait", i, info.Groups[0].Waiting)
		}
		last = now
	}
	for i := range jobs {
		assert.Equal(t, 1, c.seen[strconv.Itoa(i)], "message %d", i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d messages; members of %v ms have done %v; none was idle for more than %d questions about what waits", jobs, speeds, c.done, most)
}

// TestAMemberKilledInTheMiddleLosesNothing kills members of a group on a durable topic while
// they work. What they had begun is done by others, and nothing else is done twice.
func TestAMemberKilledInTheMiddleLosesNothing(t *testing.T) {
	_, broker := startFastBroker(t, anyPort, "--data", t.TempDir())
	near := dialFar(t, broker)
	require.NoError(t, near.CreateWith(t.Context(), "jobs", abstract.TopicSettings{Durable: true, AckWait: time.Minute}))
	var mu sync.Mutex
	begun, done := map[string]int{}, map[string]int{}
	var workers []*proc
	var watching sync.WaitGroup
	for _, takes := range []string{"30ms", "20ms", "10ms", "5ms", "2ms", "1ms"} {
		w := startHelper(t, "worker", broker, "jobs", takes)
		w.oneOfMany = true
		require.Equal(t, "joined", w.line(w.out))
		workers = append(workers, w)
		watching.Go(func() {
			for line := range w.out.lines {
				what, job, _ := strings.Cut(line, " ")
				mu.Lock()
				if what == "begun" {
					begun[job]++
				} else {
					done[job]++
				}
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(done) }
	jobs, kills := long(600, 3000), 0
	for i := range jobs {
		require.NoError(t, near.Publish(t.Context(), "jobs", i))
		if i%(jobs/5) == jobs/10 && kills < len(workers)-1 { // some are at work now
			require.Eventually(t, func() bool { return count() > i/2 }, patience, time.Millisecond)
			workers[kills].signal(syscall.SIGKILL)
			workers[kills].wait()
			kills++
		}
	}
	require.Eventually(t, func() bool { return count() == jobs }, patience, 10*time.Millisecond, "done: %s", lazily(func() string { return strconv.Itoa(count()) }))
	for _, w := range workers[kills:] {
		_ = w.stdin.Close()
	}
	watching.Wait()
	twice := 0
	for _, n := range begun {
		twice += n - 1
	}
	assert.LessOrEqual(t, twice, kills*3, "each member has one message in hand, and one or two whose end is on its way")
	t.Logf("%d messages, %d members killed at work: all are done, %d of them twice", jobs, kills, twice)
}
