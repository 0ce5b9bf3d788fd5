package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

func closed[T any](c <-chan T) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func acquire(t testing.TB, l *client.Lock) *client.Held {
	t.Helper()
	h, err := l.Acquire(ctx)
	require.NoError(t, err)
	return h
}

// line is who stands in the line of a lock.
func line(t testing.TB, n *client.NodeClient, path string) []client.Node {
	t.Helper()
	list, err := n.List(ctx, path)
	require.NoError(t, err)
	return list
}

func TestLockGoesRoundInOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		const clients = 8
		var holding atomic.Int32
		var mu sync.Mutex
		var order []int
		var last int64
		first := acquire(w, client.NewLock(w.nodes(), "/locks/a"))
		var all sync.WaitGroup
		for i := range clients {
			n := w.nodes()
			all.Go(func() {
				h, err := client.NewLock(n, "/locks/a").Acquire(ctx)
				require.NoError(w, err)
				assert.EqualValues(w, 1, holding.Add(1))
				time.Sleep(time.Second)
				mu.Lock()
				order = append(order, i)
				assert.Greater(w, h.Token(), last)
				last = h.Token()
				mu.Unlock()
				holding.Add(-1)
				require.NoError(w, h.Err())
				assert.NoError(w, h.Release(ctx))
				assert.True(w, closed(h.Lost()))
				require.ErrorIs(w, h.Err(), abstract.ErrCancelled)
				assert.NoError(w, h.Release(ctx), "again does no harm")
			})
			synctest.Wait()
		}
		require.NoError(w, first.Release(ctx))
		all.Wait()
		assert.Equal(w, []int{0, 1, 2, 3, 4, 5, 6, 7}, order)
		assert.Empty(w, line(w, w.nodes(), "/locks/a"))
	})
}

func TestLockAtTheRoot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		require.NoError(w, acquire(w, client.NewLock(w.nodes(), "/")).Release(ctx))
	})
}

func TestWaiterThatGivesUpLeavesTheLine(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n := w.nodes()
		h := acquire(w, client.NewLock(n, "/l"))
		brief, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err := client.NewLock(w.nodes(), "/l").Acquire(brief)
		require.ErrorIs(w, err, abstract.ErrTimeout)
		synctest.Wait()
		assert.Len(w, line(w, n, "/l"), 1)
		require.NoError(w, h.Err())
	})
}

// The creation of a place whose answer nobody waited for must not block the line.
func TestGivenUpCreationLeavesNobodyInLine(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut %t", cut), func(t *testing.T) {
			inWorld(t, func(w *world) {
				store := &lateStore{Store: memstore.New()}
				w.broker(server.WithStore(store))
				n := w.nodes()
				create(w, n, "/l", "")
				conn, leash := w.leashed()
				hold := make(chan struct{})
				store.hold.Store(&hold)
				giveUp, cancel := context.WithCancel(ctx)
				got := make(chan error, 1)
				go func() {
					_, err := client.NewLock(client.NewNodeClient(conn), "/l").Acquire(giveUp)
					got <- err
				}()
				synctest.Wait() // the store has the creation
				if cut {
					leash.cut()
					synctest.Wait()
				}
				cancel()
				require.ErrorIs(w, <-got, abstract.ErrCancelled)
				store.hold.Store(nil)
				close(hold)
				leash.heal()
				time.Sleep(time.Minute)
				assert.Empty(w, line(w, n, "/l"))
			})
		})
	}
}

// The holder of a lock that is cut off knows that before anybody else can get it.
func TestHolderThatIsCutOffLosesTheLockFirst(t *testing.T) {
	for _, how := range []string{"cut", "blackhole"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.broker(server.WithSessions(time.Second, 4))
				far, leash := w.leashed()
				farNodes, n := client.NewNodeClient(far), w.nodes()
				create(w, n, "/data", "")
				old := acquire(w, client.NewLock(farNodes, "/l"))
				time.Sleep(time.Hour)
				require.NoError(w, old.Err(), "an idle holder holds on")

				lost := make(chan time.Time, 1)
				go func() { <-old.Lost(); lost <- time.Now() }()
				if how == "cut" {
					leash.cut()
				} else {
					w.net.Blackhole(true)
					time.AfterFunc(4*time.Second, func() { w.net.Blackhole(false) })
				}
				begun := time.Now()
				var h *client.Held
				if how == "cut" {
					h = acquire(w, client.NewLock(n, "/l"))
				} else {
					time.Sleep(4 * time.Second)
				}
				at := <-lost
				assert.LessOrEqual(w, at.Sub(begun), 3*time.Second)
				assert.GreaterOrEqual(w, at.Sub(begun), 2*time.Second, "and not long before it has to be")
				require.ErrorIs(w, old.Err(), abstract.ErrSessionExpired)
				if h == nil {
					h = acquire(w, client.NewLock(n, "/l"))
				}
				assert.True(w, at.Before(time.Now()))
				assert.Greater(w, h.Token(), old.Token())
				leash.heal()
				time.Sleep(time.Minute)

				_, err := farNodes.Multi(ctx, old.Check(), client.SetOp("/data", []byte("late")))
				require.ErrorIs(w, err, abstract.ErrNotFound, "refused by its token")
				_, err = n.Multi(ctx, h.Check(), client.SetOp("/data", []byte("mine")))
				require.NoError(w, err)
				got, err := farNodes.Get(ctx, "/data", client.Linearizable())
				require.NoError(w, err)
				assert.Equal(w, "mine", string(got.Data))
				require.NoError(w, h.Err())
			})
		})
	}
}

// A lock that was given up in doubt is free although the session lives on.
func TestLockLostInDoubtIsGivenOnWhenTheSessionLives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Second, 4))
		conn, leash := w.leashed(client.WithBackoff(time.Millisecond, 10*time.Millisecond))
		id := conn.SessionID()
		h := acquire(w, client.NewLock(client.NewNodeClient(conn), "/l"))
		leash.cut()
		time.Sleep(3500 * time.Millisecond)
		require.True(w, closed(h.Lost()))
		leash.heal()
		second := acquire(w, client.NewLock(w.nodes(), "/l"))
		assert.Greater(w, second.Token(), h.Token())
		time.Sleep(time.Minute)
		assert.Equal(w, id, conn.SessionID())
		require.NoError(w, second.Err())
	})
}

func TestHeldLockSurvivesReconnects(t *testing.T) {
	inWorld(t, func(w *world) {
		store := memstore.New()
		defer store.Close()
		broker := w.broker(server.WithStore(store))
		h := acquire(w, client.NewLock(w.nodes(), "/l"))
		for range 10 {
			w.net.Cut()
			time.Sleep(10 * time.Second)
		}
		broker.stop()
		w.broker(server.WithStore(store))
		time.Sleep(time.Minute)
		require.NoError(w, h.Err())
	})
}

func TestLockIsLostWithItsNode(t *testing.T) {
	inWorld(t, func(w *world) {
		broker := w.broker()
		conn := w.dial()
		n := client.NewNodeClient(conn)
		h := acquire(w, client.NewLock(n, "/l"))
		require.NoError(w, w.nodes().Delete(ctx, "/l", client.Recursive()))
		<-h.Lost()
		require.ErrorIs(w, h.Err(), abstract.ErrSessionExpired)

		h = acquire(w, client.NewLock(n, "/l"))
		broker.stop() // and it forgets everything
		w.broker()
		<-h.Lost()
		require.ErrorIs(w, h.Err(), abstract.ErrSessionExpired)

		h = acquire(w, client.NewLock(n, "/l"))
		require.NoError(w, conn.Close())
		assert.True(w, closed(h.Lost()), "before Close has returned")
	})
}

// Who waits while the session is lost stands in line again.
func TestWaiterWhoseSessionIsLostStandsInLineAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Second, 3))
		n := w.nodes()
		h := acquire(w, client.NewLock(n, "/l"))
		conn, leash := w.leashed()
		got := make(chan *client.Held, 1)
		go func() {
			x, err := client.NewLock(client.NewNodeClient(conn), "/l").Acquire(ctx)
			assert.NoError(w, err)
			got <- x
		}()
		time.Sleep(time.Second)
		require.Len(w, line(w, n, "/l"), 2)
		leash.cut()
		time.Sleep(time.Minute)
		require.Len(w, line(w, n, "/l"), 1)
		leash.heal()
		time.Sleep(time.Minute)
		require.Len(w, line(w, n, "/l"), 2)
		require.NoError(w, h.Release(ctx))
		assert.NoError(w, (<-got).Err())
	})
}

// Release while the connection is down: the lock is given on as soon as it is back.
func TestReleaseThatTheBrokerDoesNotHearIsDoneLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Hour, 5))
		conn, leash := w.leashed()
		h := acquire(w, client.NewLock(client.NewNodeClient(conn), "/l"))
		leash.cut()
		require.Error(w, h.Release(ctx))
		assert.True(w, closed(h.Lost()))
		leash.heal()
		require.NoError(w, acquire(w, client.NewLock(w.nodes(), "/l")).Err())
	})
}

func TestElection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Second, 3))
		far, leash := w.leashed()
		watcher := client.NewElection(w.nodes(), "/e")
		_, err := watcher.Leader(ctx)
		require.ErrorIs(w, err, abstract.ErrNotFound)
		following, stop := context.WithCancel(ctx)
		leaders, ended := make(chan client.Leader, 10), make(chan struct{})
		go func() {
			defer close(ended)
			for l, err := range watcher.Follow(following) {
				if err != nil {
					assert.ErrorIs(w, err, abstract.ErrCancelled)
					return
				}
				leaders <- l
			}
		}()
		assert.Zero(w, (<-leaders).Token, "nobody")
		a, err := client.NewElection(client.NewNodeClient(far), "/e").Campaign(ctx, []byte("a"))
		require.NoError(w, err)
		l := <-leaders
		assert.Equal(w, client.Leader{Value: []byte("a"), Token: a.Token()}, l)
		leash.cut()
		b, err := client.NewElection(w.nodes(), "/e").Campaign(ctx, []byte("b"))
		require.NoError(w, err)
		require.ErrorIs(w, a.Context().Err(), context.Canceled, "the leader's context ends before another one leads")
		assert.Equal(w, client.Leader{Value: []byte("b"), Token: b.Token()}, <-leaders)
		require.NoError(w, b.Release(ctx))
		assert.Zero(w, (<-leaders).Token)
		stop()
		<-ended
		leash.heal()
	})
}

func TestGroup(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Second, 3))
		problems := make(chan error, 100)
		conn, leash := w.leashed(client.OnProblem(func(err error) { problems <- err }))
		near, far := client.NewGroup(w.nodes(), "/g"), client.NewGroup(client.NewNodeClient(conn), "/g")
		none, err := near.Members(ctx)
		require.NoError(w, err)
		assert.Empty(w, none)
		changes := make(chan client.GroupChange, 100)
		view, err := near.Follow(ctx, func(c client.GroupChange) { changes <- c })
		require.NoError(w, err)
		a, err := near.Join(ctx, "a", []byte("1"))
		require.NoError(w, err)
		assert.Equal(w, client.GroupChange{Members: map[string][]byte{"a": []byte("1")}, Joined: []string{"a"}}, <-changes)
		_, err = far.Join(ctx, "a", nil)
		require.ErrorIs(w, err, abstract.ErrExists)
		b, err := far.Join(ctx, "b", []byte("2"))
		require.NoError(w, err)
		assert.Equal(w, []string{"b"}, (<-changes).Joined)

		w.net.Cut()
		time.Sleep(time.Minute)
		assert.Empty(w, changes, "a lost connection is no loss")
		leash.cut()
		time.Sleep(time.Minute)
		assert.Equal(w, []string{"b"}, (<-changes).Left)
		leash.heal()
		assert.Equal(w, []string{"b"}, (<-changes).Joined, "by itself, with the new session")
		require.NoError(w, w.nodes().Delete(ctx, "/g/b"))
		time.Sleep(time.Minute)
		assert.Equal(w, []string{"b"}, (<-changes).Left)
		assert.Equal(w, []string{"b"}, (<-changes).Joined)

		leash.cut()
		assert.Equal(w, []string{"b"}, (<-changes).Left)
		thief, err := near.Join(ctx, "b", []byte("thief"))
		require.NoError(w, err)
		<-changes
		leash.heal()
		require.ErrorIs(w, <-problems, abstract.ErrExists, "it is said that another one has the name")
		require.NoError(w, b.Leave(ctx))
		members, err := near.Members(ctx)
		require.NoError(w, err)
		assert.Equal(w, map[string][]byte{"a": []byte("1"), "b": []byte("thief")}, members, "leaving takes nobody else's node")
		require.NoError(w, thief.Leave(ctx))
		require.NoError(w, a.Leave(ctx))
		assert.Equal(w, []string{"b"}, (<-changes).Left)
		assert.Equal(w, client.GroupChange{Members: map[string][]byte{}, Left: []string{"a"}}, <-changes)
		require.NoError(w, view.Close(ctx))
		assert.True(w, closed(view.Done()))
	})
}

func TestBarrier(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Second, 3))
		n := w.nodes()
		brief, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(w, client.NewBarrier(w.nodes(), "/b", 3).Wait(brief), abstract.ErrTimeout)
		synctest.Wait()
		assert.Empty(w, line(w, n, "/b"), "who gave up does not count")

		conn, leash := w.leashed()
		expired := make(chan error, 1)
		go func() { expired <- client.NewBarrier(client.NewNodeClient(conn), "/b", 3).Wait(ctx) }()
		time.Sleep(time.Second)
		leash.cut()
		time.Sleep(time.Minute)
		leash.heal()
		require.ErrorIs(w, <-expired, abstract.ErrSessionExpired)

		var passed atomic.Int32
		var all sync.WaitGroup
		for i := range 3 {
			b := client.NewBarrier(w.nodes(), "/b", 3)
			assert.Zero(w, passed.Load(), "%d came", i)
			all.Go(func() {
				assert.NoError(w, b.Wait(ctx))
				passed.Add(1)
			})
			time.Sleep(time.Second)
		}
		all.Wait()
		require.NoError(w, client.NewBarrier(w.nodes(), "/b", 3).Wait(ctx), "it stays open")
	})
}

func TestDoubleBarrier(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		var inside, left atomic.Int32
		var all sync.WaitGroup
		for i := range 4 {
			d := client.NewDoubleBarrier(w.nodes(), "/d", 4)
			all.Go(func() {
				e, err := d.Enter(ctx)
				require.NoError(w, err)
				inside.Add(1)
				time.Sleep(time.Second)
				assert.EqualValues(w, 4, inside.Load(), "they begin together")
				time.Sleep(time.Duration(i+1) * time.Second)
				inside.Add(-1)
				assert.Zero(w, left.Load())
				require.NoError(w, e.Leave(ctx))
				left.Add(1)
				assert.Zero(w, inside.Load(), "nobody is done before all are")
			})
			time.Sleep(time.Second)
		}
		all.Wait()
		assert.EqualValues(w, 4, left.Load())
	})
}
