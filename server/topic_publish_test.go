package server

import (
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// fakeConn is a connection that keeps what is queued, its lanes' frames included.
type fakeConn struct {
	abstract.BaseConnection
	mu     sync.Mutex
	queued []abstract.Frame
}

func (f *fakeConn) Queue(frame abstract.Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued = append(f.queued, frame)
	return nil
}
func (f *fakeConn) Flush()                                     {}
func (f *fakeConn) RemoteAddr() net.Addr                       { return &net.TCPAddr{} }
func (f *fakeConn) NewLane(abstract.LaneConfig) abstract.Lane  { return fakeLane{f} }
func (f *fakeConn) said(t *testing.T, s *TopicServer) []string { return said(t, s, f.drain()) }

func (f *fakeConn) drain() (frames []abstract.Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames, f.queued = f.queued, nil
	return frames
}

type fakeLane struct{ *fakeConn }

func (fakeLane) Close()         {}
func (fakeLane) Missed() uint64 { return 0 }
func (fakeLane) Room() int      { return 1 << 30 }
func (fakeLane) OnRoom(func())  {}

func (fakeLane) SetPolicy(abstract.Policy) {}

// said is what frames say: "push ID", "rsp ID RCODE".
func said(t *testing.T, s *TopicServer, frames []abstract.Frame) (list []string) {
	t.Helper()
	for _, f := range frames {
		assert.Equal(t, abstract.ClassTopic, f.Class)
		messages := decode(t, s, f.Bytes)
		if gap, ok := messages[0].(*message.GapNotice); ok {
			assert.EqualValues(t, gap.Missed, f.Count, "a notice stands for what it tells of")
		} else {
			assert.Len(t, messages, f.Count, "a frame says how many messages it holds")
		}
		for _, m := range messages {
			switch m := m.(type) {
			case *message.TopicResponse:
				list = append(list, "rsp "+m.ID()+" "+strconv.Itoa(int(m.Code)))
			case *message.TopicRequest:
				if m.Op == abstract.TopicRemove {
					list = append(list, "removed "+m.Topic)
					continue
				}
				list = append(list, "push "+m.ID())
			}
		}
	}
	return list
}

// input is a BaseBuffer over what is there.
type input struct{ b []byte }

func (i *input) Len() int                   { return len(i.b) }
func (i *input) Peek(n int) ([]byte, error) { return i.b[:n:n], nil }
func (i *input) Next(n int) (p []byte, err error) {
	p, i.b = i.b[:n:n], i.b[n:]
	return p, nil
}

func decode(t testing.TB, s *TopicServer, b []byte) (list []abstract.BaseMessage) {
	t.Helper()
	for in := (&input{b}); in.Len() > 0; {
		m, ok, err := s.ep.protocol.Decode(in)
		require.NoError(t, err)
		require.True(t, ok, "whole frames")
		list = append(list, m)
	}
	return list
}

// request is a request as it arrives.
func request(t testing.TB, s *TopicServer, op abstract.TopicOp, id, topic, data string) abstract.BaseMessage {
	t.Helper()
	b, err := s.ep.protocol.Append(nil, &message.TopicRequest{Header: message.ID(id), Op: op, Topic: topic, Message: message.Raw(data)})
	require.NoError(t, err)
	return decode(t, s, b)[0]
}

func topicServer(t testing.TB, opts ...Option) *TopicServer {
	t.Helper()
	s := NewTopicServer("127.0.0.1:0", append(opts, WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))...)
	require.NoError(t, s.start())
	t.Cleanup(s.close)
	return s
}

// connect makes a legacy connection, or a modern one that takes frames of maxFrame bytes.
func connect(t testing.TB, s *TopicServer, maxFrame int) (*conn, *fakeConn) {
	t.Helper()
	f := &fakeConn{}
	c := s.ep.open(f).(*conn)
	if maxFrame > 0 {
		require.NoError(t, c.judge.Receive(&message.Hello{Header: message.ID("h"), Version: message.ProtocolVersion, MaxFrame: maxFrame}, time.Now()).Close)
	}
	return c, f
}

const bigFrames = 8 << 20

func TestPublishesOfABatchAreServedInOrder(t *testing.T) {
	const create, remove, subscribe, cancel, publish = abstract.TopicCreate, abstract.TopicRemove, abstract.TopicSubscribe, abstract.TopicCancel, abstract.TopicPublish
	type op struct {
		op        abstract.TopicOp
		id, topic string
	}
	cases := []struct {
		name             string
		batch            []op
		publisher, other []string
		frames           int // that the other gets
	}{
		{"a run is one frame, and its answers follow", []op{{publish, "1", "t"}, {publish, "2", "t"}, {publish, "3", "t"}},
			[]string{"rsp 1 0", "rsp 2 0", "rsp 3 0"}, []string{"push 1", "push 2", "push 3"}, 1},
		{"a publisher's own push comes before its answer", []op{{subscribe, "s", "t"}, {publish, "1", "t"}, {publish, "2", "t"}},
			[]string{"rsp s 0", "push 1", "push 2", "rsp 1 0", "rsp 2 0"}, []string{"push 1", "push 2"}, 1},
		{"two topics keep their order", []op{{publish, "1", "t"}, {publish, "2", "u"}, {publish, "3", "u"}, {publish, "4", "t"}},
			[]string{"rsp 1 0", "rsp 2 0", "rsp 3 0", "rsp 4 0"}, []string{"push 1", "push 2", "push 3", "push 4"}, 3},
		{"subscribing begins in the middle", []op{{publish, "1", "t"}, {subscribe, "s", "t"}, {publish, "2", "t"}},
			[]string{"rsp 1 0", "rsp s 0", "push 2", "rsp 2 0"}, []string{"push 1", "push 2"}, 2},
		{"cancelling ends in the middle", []op{{subscribe, "s", "t"}, {publish, "1", "t"}, {cancel, "c", "t"}, {publish, "2", "t"}},
			[]string{"rsp s 0", "push 1", "rsp 1 0", "rsp c 0", "rsp 2 0"}, []string{"push 1", "push 2"}, 2},
		{"removing ends in the middle", []op{{publish, "1", "t"}, {remove, "r", "t"}, {publish, "2", "t"}, {publish, "3", "t"}},
			[]string{"rsp 1 0", "rsp r 0", "rsp 2 8", "rsp 3 8"}, []string{"push 1", "removed t"}, 2},
		{"creating begins in the middle", []op{{publish, "1", "new"}, {create, "c", "new"}, {publish, "2", "new"}},
			[]string{"rsp 1 8", "rsp c 0", "rsp 2 0"}, nil, 0},
		{"a faulty publish breaks the run", []op{{publish, "1", "t"}, {9, "bad", "t"}, {publish, "2", "t"}},
			[]string{"rsp 1 0", "rsp bad 7", "rsp 2 0"}, []string{"push 1", "push 2"}, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := topicServer(t)
			publisher, out := connect(t, s, bigFrames)
			other, pushes := connect(t, s, bigFrames)
			other.OnMessages([]abstract.BaseMessage{
				request(t, s, create, "c1", "t", ""), request(t, s, create, "c2", "u", ""),
				request(t, s, subscribe, "s1", "t", ""), request(t, s, subscribe, "s2", "u", ""),
			})
			pushes.drain()
			var batch []abstract.BaseMessage
			for _, o := range tc.batch {
				batch = append(batch, request(t, s, o.op, o.id, o.topic, `"m"`))
			}
			publisher.OnMessages(batch)
			assert.Equal(t, tc.publisher, out.said(t, s))
			assert.Len(t, pushes.queued, tc.frames)
			assert.Equal(t, tc.other, pushes.said(t, s))
		})
	}
}

// subscribed connects a subscriber of "t".
func subscribed(t testing.TB, s *TopicServer, maxFrame int) *fakeConn {
	t.Helper()
	c, f := connect(t, s, maxFrame)
	c.OnMessages([]abstract.BaseMessage{
		request(t, s, abstract.TopicCreate, "c", "t", ""), request(t, s, abstract.TopicSubscribe, "s", "t", ""),
	})
	f.drain()
	return f
}

// publishes is a batch of publishes to "t", with ids from 1.
func publishes(t testing.TB, s *TopicServer, data ...string) (batch []abstract.BaseMessage) {
	t.Helper()
	for i, d := range data {
		batch = append(batch, request(t, s, abstract.TopicPublish, strconv.Itoa(i+1), "t", d))
	}
	return batch
}

func TestEachSubscriberGetsWhatItTakesOfABatch(t *testing.T) {
	long := `"` + strings.Repeat("x", 65_600) + `"`
	growing := `[` + strings.Repeat(`"",`, 20_000) + `0]` // grows above 65,532 as a string
	batch := []string{`"a"`, `{"b":1}`, long, growing, `"c"`}
	s := topicServer(t)
	modern, legacy := subscribed(t, s, bigFrames), subscribed(t, s, 0)
	small, second := subscribed(t, s, 1024), subscribed(t, s, 0)
	publisher, out := connect(t, s, bigFrames)

	publisher.OnMessages(publishes(t, s, batch...))
	assert.Equal(t, []string{"rsp 1 0", "rsp 2 0", "rsp 3 0", "rsp 4 0", "rsp 5 0"}, out.said(t, s))
	assert.Equal(t, []string{"push 1", "push 2", "push 3", "push 4", "push 5"}, modern.said(t, s))
	assert.Equal(t, []string{"push 1", "push 2", "push 5"}, small.said(t, s))
	for _, f := range []*fakeConn{legacy, second} {
		frames := f.drain()
		assert.Equal(t, []string{"push 1", "push 2", "push 5"}, said(t, s, frames))
		for _, frame := range frames {
			for _, m := range decode(t, s, frame.Bytes) {
				req := m.(*message.TopicRequest)
				assert.Equal(t, message.String, message.KindOf(req.Message), "existing programs take strings")
				assert.LessOrEqual(t, len(req.Frame()), 65_532)
			}
		}
	}
	assert.EqualValues(t, 6, s.Skipped(), "two messages for each of three subscribers")
}

func TestALongRunIsCutWhereLanesCanDropIt(t *testing.T) {
	cases := []struct {
		name         string
		cap, n, size int
		largest      int
		frames       int
	}{
		{"of the default cap", 1 << 20, 40, 4 << 10, 64 << 10, 3},
		{"of a small cap", 64 << 10, 40, 1000, 4 << 10, 14},
		{"longer messages stand alone", 1 << 20, 3, 100_000, 101_000, 3},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := topicServer(t, WithSubscriberQueue(tc.cap))
			sub := subscribed(t, s, bigFrames)
			publisher, _ := connect(t, s, bigFrames)
			data := make([]string, tc.n)
			for i := range data {
				data[i] = `"` + strings.Repeat("x", tc.size) + `"`
			}
			publisher.OnMessages(publishes(t, s, data...))
			require.Len(t, sub.queued, tc.frames)
			for _, f := range sub.queued {
				assert.LessOrEqual(t, len(f.Bytes), tc.largest)
			}
			assert.Len(t, sub.said(t, s), tc.n, "nothing is lost by cutting")
		})
	}
}

func TestSubscribersOfABatchShareItsBytes(t *testing.T) {
	s := topicServer(t)
	a, b := subscribed(t, s, bigFrames), subscribed(t, s, bigFrames)
	publisher, _ := connect(t, s, bigFrames)
	publisher.OnMessages(publishes(t, s, `1`, `2`))
	require.Len(t, a.queued, 1)
	assert.Same(t, &a.queued[0].Bytes[0], &b.queued[0].Bytes[0])
}

func TestTheBrokerAllocatesNothingForADelivery(t *testing.T) {
	perBatch := func(subscribers int) float64 {
		s := topicServer(t)
		subs := make([]*fakeConn, subscribers)
		for i := range subs {
			subs[i] = subscribed(t, s, bigFrames)
			subs[i].queued = make([]abstract.Frame, 0, 4)
		}
		publisher, out := connect(t, s, bigFrames)
		batch := publishes(t, s, `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`)
		return testing.AllocsPerRun(20, func() {
			publisher.OnMessages(batch)
			out.queued = out.queued[:0]
			for _, f := range subs {
				f.queued = f.queued[:0]
			}
		})
	}
	few, many := perBatch(10), perBatch(210)
	assert.Less(t, (many-few)/(200*8), 0.01, "%v allocations for 10 subscribers, %v for 210", few, many)
	assert.Less(t, few, 24.0, "a batch of 8 messages")
}

// There may be a million of them, and 300 bytes are what a subscription may take with its
// queue: 64 in the index, 64 of its lane, 16 for the notice of what it lost, and about 25 in lists.
func TestSubscriberIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(subscriber{}), uintptr(112))
}
