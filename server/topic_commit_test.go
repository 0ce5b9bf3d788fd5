package server

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memlog"
	"trefoil/concrete/message"
)

// fakeLogs are logs in memory that count as durable. An append waits for the gate, and
// fails for some messages.
type fakeLogs struct {
	*memlog.Logs
	gate chan struct{} // receives from it before each append; nil: does not wait
	deal *dealer       // what consumers are; nil: they have nothing to deliver

	mu      sync.Mutex
	appends []int // how many entries each had
	silent  int   // so many appends are done, and nobody knows
}

func (f *fakeLogs) Durable() bool { return true }

func (f *fakeLogs) Open(ctx context.Context, topic, epoch string, cfg abstract.LogConfig) (abstract.Log, error) {
	cfg.History.Count = 1 << 20
	l, err := f.Logs.Open(ctx, topic, epoch, cfg)
	return &fakeLog{l, f}, err
}

type fakeLog struct {
	abstract.Log
	of *fakeLogs
}

func (l *fakeLog) Append(ctx context.Context, entries []abstract.LogEntry) ([]abstract.LogOffset, error) {
	if l.of.gate != nil {
		<-l.of.gate
	}
	l.of.mu.Lock()
	l.of.appends = append(l.of.appends, len(entries))
	silent := l.of.silent > 0
	l.of.silent = max(0, l.of.silent-1)
	l.of.mu.Unlock()
	if silent {
		_, _ = l.Log.Append(ctx, entries)
		return nil, abstract.Errorf(abstract.UnknownFate, "nobody knows")
	}
	for _, e := range entries {
		if bytes.Contains(e.Data, []byte("too large")) {
			return nil, abstract.Errorf(abstract.TooLarge, "it is")
		}
		if bytes.Contains(e.Data, []byte("unknown")) {
			offsets, _ := l.Log.Append(ctx, entries[:1])
			return append(offsets, make([]abstract.LogOffset, len(entries)-1)...), abstract.Errorf(abstract.UnknownFate, "nobody knows")
		}
	}
	return l.Log.Append(ctx, entries)
}

// durableServer has a durable topic "t".
func durableServer(t *testing.T, logs *fakeLogs) *TopicServer {
	t.Helper()
	logs.Logs = memlog.New(memlog.Config{})
	s := topicServer(t, WithTopicLog(logs))
	c, out := connect(t, s, bigFrames)
	raw := message.WriteTopicSettings(abstract.TopicSettings{Durable: true})
	b, err := s.ep.protocol.Append(nil, &message.TopicRequest{Header: message.ID("c"), Op: abstract.TopicCreate, Topic: "t", More: &message.TopicExtras{Settings: raw}})
	require.NoError(t, err)
	c.OnMessages(decode(t, s, b))
	require.Equal(t, []string{"rsp c 0"}, out.said(t, s))
	return s
}

func TestPublishesGoToTheLogTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{gate: make(chan struct{})}
		s := durableServer(t, logs)
		first, firstOut := connect(t, s, bigFrames)
		second, secondOut := connect(t, s, bigFrames)
		first.OnMessages(publishes(t, s, `1`))
		synctest.Wait() // it is being appended
		second.OnMessages(publishes(t, s, `2`, `3`, `4`))
		third, thirdOut := connect(t, s, bigFrames)
		third.OnMessages(publishes(t, s, `5`))
		third.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicPublish, "2", "t", `6`), request(t, s, abstract.TopicCreate, "c", "u", "")})
		synctest.Wait()
		assert.Empty(t, firstOut.said(t, s), "nobody is answered before it is on the disk")
		logs.gate <- struct{}{}
		synctest.Wait()
		assert.Equal(t, []string{"rsp 1 0"}, firstOut.said(t, s))
		close(logs.gate)
		synctest.Wait()
		assert.Equal(t, []string{"rsp 1 0", "rsp 2 0", "rsp 3 0"}, secondOut.said(t, s))
		assert.Equal(t, []string{"rsp 1 0", "rsp 2 0", "rsp c 0"}, thirdOut.said(t, s), "what else is asked of topics comes behind them")
		assert.Less(t, len(logs.appends), 5, "%v", logs.appends)
		total := 0
		for _, n := range logs.appends {
			total += n
		}
		assert.Equal(t, 6, total)
	})
}

func TestAPublisherWaitsForItsOwnTopicOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{gate: make(chan struct{})}
		s := durableServer(t, logs)
		waits, _ := connect(t, s, bigFrames)
		waits.OnMessages(publishes(t, s, `1`))
		synctest.Wait()
		other, out := connect(t, s, bigFrames)
		other.OnMessages([]abstract.BaseMessage{
			request(t, s, abstract.TopicCreate, "c", "plain", ""), request(t, s, abstract.TopicPublish, "p", "plain", "1"),
		})
		assert.Equal(t, []string{"rsp c 0", "rsp p 0"}, out.said(t, s))
		close(logs.gate)
		synctest.Wait()
	})
}

func TestAFailureIsThatOfWhomItConcerns(t *testing.T) {
	cases := map[string]struct {
		bad  string
		want []string
	}{
		"too large": {`"too large"`, []string{"rsp 1 0", "rsp 2 0", "rsp 3 0", "rsp 4 23", "rsp 5 0", "rsp 6 0"}},
		"unknown":   {`"unknown"`, []string{"rsp 1 0", "rsp 2 0", "rsp 3 24", "rsp 4 24", "rsp 5 24", "rsp 6 24"}},
	}
	for name, tc := range cases {
		synctest.Test(t, func(t *testing.T) {
			logs := &fakeLogs{gate: make(chan struct{})}
			s := durableServer(t, logs)
			sub, pushed := connect(t, s, bigFrames)
			sub.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicSubscribe, "s", "t", "")})
			synctest.Wait()
			pushed.drain()
			c, out := connect(t, s, bigFrames)
			c.OnMessages(publishes(t, s, `1`))
			synctest.Wait()
			for i, data := range []string{`2`, `3`, tc.bad, `5`, `6`} {
				c.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicPublish, strconv.Itoa(i+2), "t", data)})
			}
			close(logs.gate)
			synctest.Wait()
			assert.Equal(t, tc.want, out.said(t, s), name)
			var taken []string
			for _, rsp := range tc.want {
				if id, ok := strings.CutSuffix(rsp, " 0"); ok {
					taken = append(taken, strings.Replace(id, "rsp", "push", 1))
				}
			}
			assert.Equal(t, taken, pushed.said(t, s), "%s: who is told that it is kept is the one whose message is pushed", name)
		})
	}
}

func TestWhatWaitsForALogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{gate: make(chan struct{})}
		s := durableServer(t, logs)
		c, _ := connect(t, s, bigFrames)
		c.OnMessages(publishes(t, s, `1`))
		synctest.Wait()
		s.index.Lock()
		f, err := s.feedOf("t")
		s.index.Unlock()
		require.NoError(t, err)
		list := make([]*commit, maxCommits+1)
		for i := range list {
			list[i] = newCommit(f, request(t, s, abstract.TopicPublish, "x", "t", `1`).(*message.TopicRequest))
		}
		s.commit(f, list)
		assert.False(t, list[maxCommits-1].ended())
		require.True(t, list[maxCommits].ended())
		assert.Equal(t, abstract.Overloaded, abstract.CodeOf(list[maxCommits].err))
		close(logs.gate)
		for _, one := range list[:maxCommits] {
			<-one.done
			require.NoError(t, one.err)
		}
		for _, n := range logs.appends {
			assert.LessOrEqual(t, n, maxCommitGroup)
		}
	})
}

func TestPublishesToARemovedTopicAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{gate: make(chan struct{})}
		s := durableServer(t, logs)
		c, out := connect(t, s, bigFrames)
		c.OnMessages(publishes(t, s, `1`))
		synctest.Wait()
		other, _ := connect(t, s, bigFrames)
		other.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicRemove, "r", "t", "")})
		close(logs.gate)
		time.Sleep(time.Second)
		c.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicPublish, "2", "t", `2`)})
		synctest.Wait()
		assert.Equal(t, []string{"rsp 1 8", "rsp 2 8"}, out.said(t, s))
	})
}
