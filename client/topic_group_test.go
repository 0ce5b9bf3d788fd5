package client_test

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// shift is one message in a member's hands.
type shift struct {
	member     int
	data       string
	begun, end time.Time
}

// team is the members of a queue group, who take their time.
type team struct {
	mu     sync.Mutex
	shifts []shift
}

// work subscribes a member that takes so long for a message.
func (w *world) work(c *client.TopicClient, team *team, member int, takes time.Duration, opts ...client.SubscribeOption) {
	w.Helper()
	_, err := c.Subscribe(w.Context(), "jobs", func(m client.Message) {
		s := shift{member: member, data: string(m.Data), begun: time.Now()}
		time.Sleep(takes)
		s.end = time.Now()
		team.mu.Lock()
		defer team.mu.Unlock()
		team.shifts = append(team.shifts, s)
	}, append(opts, client.QueueGroup("team"))...)
	require.NoError(w, err)
}

// TestNoMemberOfAGroupIsIdleWhileMessagesWait has ten members of uneven speed do a
// thousand messages: until the last one is begun, each of them has one in hand at
// every moment.
func TestNoMemberOfAGroupIsIdleWhileMessagesWait(t *testing.T) {
	const jobs = 1000
	for name, workers := range map[string]int{"one at a time": 1, "three at a time": 3} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.broker()
				c := w.topics()
				require.NoError(t, c.Create(w.Context(), "jobs"))
				var all team
				for i, takes := range []int{1, 2, 3, 5, 8, 13, 21, 34, 55, 100} {
					w.work(w.topics(), &all, i, time.Duration(takes)*time.Millisecond, client.Workers(workers))
				}
				begun := time.Now()
				for i := range jobs {
					require.NoError(t, c.Publish(w.Context(), "jobs", i))
				}
				require.Equal(t, begun, time.Now(), "publishing takes no time here")
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Len(t, all.shifts, jobs)
				last := slices.MaxFunc(all.shifts, func(a, b shift) int { return a.begun.Compare(b.begun) }).begun
				byMember := map[int]time.Duration{}
				seen := map[string]bool{}
				for _, s := range all.shifts {
					if s.begun.Before(last) {
						end := s.end
						if end.After(last) {
							end = last
						}
						byMember[s.member] += end.Sub(s.begun)
					}
					seen[s.data] = true
				}
				assert.Len(t, seen, jobs, "each message is done, once")
				for member := range 10 {
					assert.Equal(t, time.Duration(workers)*last.Sub(begun), byMember[member], "member %d has not worked all the time", member)
				}
				t.Logf("the last of %d messages was begun after %v; nobody was idle before", jobs, last.Sub(begun))
			})
		})
	}
}

// TestWhatALostMemberHadInHandIsDoneByOthers cuts members off in the middle of their work.
func TestWhatALostMemberHadInHandIsDoneByOthers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c := w.topics()
		require.NoError(t, c.Create(w.Context(), "jobs"))
		var all team
		w.work(w.topics(), &all, 0, 10*time.Millisecond)
		for i := 1; i < 5; i++ {
			far, machine := w.topicsOn()
			w.work(far, &all, i, 10*time.Millisecond, client.Window(5))
			time.AfterFunc(time.Duration(i)*55*time.Millisecond, machine.Cut)
		}
		for i := range 200 {
			require.NoError(t, c.Publish(w.Context(), "jobs", i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		done := map[string]int{}
		for _, s := range all.shifts {
			done[s.data]++
		}
		for i := range 200 {
			assert.Positive(t, done[strconv.Itoa(i)], "message %d", i)
		}
		twice := len(all.shifts) - len(done)
		assert.LessOrEqual(t, twice, 4*5, "only what was in hand is done twice")
	})
}

// TestAGroupWithoutRoomGoesOn has a member whose queue at the broker is full, while others
// work, and then reads.
func TestAGroupWithoutRoomGoesOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c := w.topics()
		require.NoError(t, c.CreateWith(w.Context(), "jobs", abstract.TopicSettings{}))
		var all team
		far, machine := w.topicsOn()
		w.work(far, &all, 0, 0, client.Window(1000))
		machine.Stall(true)
		text := string(make([]byte, 100<<10)) // 600 KiB each, as JSON
		for range 20 {
			require.NoError(t, c.Publish(w.Context(), "jobs", text))
		}
		w.work(w.topics(), &all, 1, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		all.mu.Lock()
		others := len(all.shifts)
		all.mu.Unlock()
		assert.GreaterOrEqual(t, others, 15, "who has room does what the other has no room for")
		machine.Stall(false)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Len(t, all.shifts, 20, "none is lost in a full queue")
	})
}

// TestWhatACallbackHasDoneWithIsAcknowledgedWhileTheNextRuns has a member do one message at
// once and then one that takes a minute.
func TestWhatACallbackHasDoneWithIsAcknowledgedWhileTheNextRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c := w.topics()
		require.NoError(t, c.Create(w.Context(), "jobs"))
		release := make(chan struct{})
		_, err := w.topics().Subscribe(w.Context(), "jobs", func(m client.Message) {
			if string(m.Data) != "1" {
				<-release
			}
		}, client.QueueGroup("team"), client.Window(2))
		require.NoError(t, err)
		_, err = c.PublishBatch(w.Context(), "jobs", []client.Outgoing{{Value: 1}, {Value: 2}, {Value: 3}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		info, err := c.Info(w.Context(), "jobs")
		require.NoError(t, err)
		require.Len(t, info.Groups, 1)
		assert.Zero(t, info.Groups[0].Waiting, "the third is given as soon as the first is done")
		close(release)
	})
}
