package link

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

// modelLane is a lane as a plain list.
type modelLane struct {
	l      *lane
	policy abstract.Policy
	max    int
	frames []modelFrame
	gap    uint64
	missed uint64
	closed bool
}

// modelFrame is a frame and when it was queued.
type modelFrame struct {
	at   uint64
	size int
}

func (m *modelLane) bytes() (n int) {
	for _, f := range m.frames {
		n += f.size
	}
	return n
}

// model is the outbox as plain lists, without a thought for speed.
type model struct {
	own   [abstract.Classes][]modelFrame
	lanes []*modelLane
	limit int
}

func (m *model) laneBytes() (n int) {
	for _, l := range m.lanes {
		n += l.bytes()
	}
	return n
}

func (m *model) queue(l *modelLane, f modelFrame) {
	if l.closed {
		return
	}
	fits := func() bool {
		return m.laneBytes()+f.size <= m.limit && (len(l.frames) == 0 || l.bytes()+f.size <= l.max)
	}
	for l.policy == abstract.DropOldest && len(l.frames) > 0 && !fits() {
		l.frames = l.frames[1:]
		l.gap++
		l.missed++
	}
	if !fits() {
		l.gap++
		l.missed++
		return
	}
	l.frames = append(l.frames, f)
}

func (m *model) waiting() (n int) {
	for class := range m.own {
		n += len(m.own[class])
	}
	for _, l := range m.lanes {
		n += len(l.frames)
	}
	return n
}

// written checks one entry that the outbox gave out.
func (m *model) written(t *rapid.T, e entry) {
	at, class := numbers(e.bytes)[0], abstract.ClassOf(abstract.MType(e.bytes[4]))
	for higher := range class {
		if len(m.own[higher]) > 0 {
			t.Fatalf("class %d was written while class %d waits", class, higher)
		}
	}
	if e.lane == nil {
		if m.own[class][0].at != at {
			t.Fatalf("class %d: frame %d, expected %d", class, at, m.own[class][0].at)
		}
		m.own[class] = m.own[class][1:]
		for _, l := range m.lanes {
			if class == abstract.ClassTopic && len(l.frames) > 0 && l.frames[0].at < at {
				t.Fatalf("lane frame %d waits, but the topic frame %d that came later was written", l.frames[0].at, at)
			}
		}
		return
	}
	for _, l := range m.lanes {
		if l.l != e.lane {
			continue
		}
		if len(l.frames) == 0 || l.frames[0].at != at || l.gap != e.gap {
			t.Fatalf("lane gave frame %d with gap %d, expected %v with gap %d", at, e.gap, l.frames, l.gap)
		}
		l.frames, l.gap = l.frames[1:], 0
	}
}

func TestOutboxAgreesWithModel(t *testing.T) {
	kinds := []abstract.MType{abstract.Ping, abstract.RspRPC, abstract.ReqRPC, abstract.RspTopic}
	rapid.Check(t, func(t *rapid.T) {
		c := New(testConfig(nil), newFakeWire(), nil)
		m := &model{limit: 2000}
		c.out.limit = m.limit
		at := uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			at++
			size := rapid.IntRange(0, 300).Draw(t, "size")
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0, 1, 2:
				f := testFrame(rapid.SampledFrom(kinds).Draw(t, "kind"), at, size)
				waits := 0
				for _, w := range m.own[f.Class] {
					waits += w.size
				}
				err := c.Queue(f)
				if full := waits+len(f.Bytes) > m.limit; full != (err != nil) {
					t.Fatalf("%d bytes wait and %d come: %v", waits, len(f.Bytes), err)
				} else if !full {
					m.own[f.Class] = append(m.own[f.Class], modelFrame{at, len(f.Bytes)})
				}
			case 3:
				if len(m.lanes) < 5 {
					l := &modelLane{policy: abstract.Policy(rapid.IntRange(0, 1).Draw(t, "policy")), max: rapid.IntRange(20, 700).Draw(t, "max")}
					l.l = c.NewLane(abstract.LaneConfig{MaxBytes: l.max, Policy: l.policy}).(*lane)
					m.lanes = append(m.lanes, l)
				}
			case 4, 5, 6, 7:
				if len(m.lanes) > 0 {
					l := rapid.SampledFrom(m.lanes).Draw(t, "lane")
					f := testFrame(abstract.ReqTopic, at, size)
					if err := l.l.Queue(f); err != nil {
						t.Fatal(err)
					}
					m.queue(l, modelFrame{at, len(f.Bytes)})
				}
			case 8:
				if len(m.lanes) > 0 && rapid.Bool().Draw(t, "really") {
					l := rapid.SampledFrom(m.lanes).Draw(t, "lane")
					l.l.Close()
					l.closed, l.frames = true, nil
				}
			case 9:
				take(t, c, m, rapid.IntRange(1, 1500).Draw(t, "limit"))
			}
			check(t, c, m)
		}
		for m.waiting() > 0 {
			take(t, c, m, batchBytes)
		}
		check(t, c, m)
		if b := newBatch(); c.out.next(b, 1) {
			t.Fatal("something is left")
		}
	})
}

// take writes one batch.
func take(t *rapid.T, c *Conn, m *model, limit int) {
	b := newBatch()
	defer b.free()
	if c.out.next(b, limit) != (m.waiting() > 0) {
		t.Fatalf("%d frames wait in the model", m.waiting())
	}
	size := 0
	for i, e := range b.entries {
		if size >= limit {
			t.Fatalf("entry %d is above the limit of a batch", i)
		}
		m.written(t, e)
		size += len(e.bytes)
	}
}

// check compares what the outbox counts with what is there.
func check(t *rapid.T, c *Conn, m *model) {
	o := &c.out
	if o.frames != m.waiting() || o.laneBytes != m.laneBytes() {
		t.Fatalf("%d frames and %d bytes in lanes, expected %d and %d", o.frames, o.laneBytes, m.waiting(), m.laneBytes())
	}
	for class, frames := range m.own {
		n := 0
		for _, f := range frames {
			n += f.size
		}
		if got := o.queued(abstract.Class(class)); got != n {
			t.Fatalf("class %d counts %d bytes, not %d", class, got, n)
		}
	}
	tokens := 0
	for _, l := range m.lanes {
		tokens += int(l.l.tokens)
		if l.l.missed != l.missed || (!l.closed && int(l.l.tokens) < len(l.frames)) {
			t.Fatalf("missed %d, tokens %d; expected %d and %d frames", l.l.missed, l.l.tokens, l.missed, len(l.frames))
		}
	}
	if own, n := len(m.own[abstract.ClassTopic]), topicDue(o); n != own+tokens {
		t.Fatalf("%d are due in the topic ring, %d own and %d tokens", n, own, tokens)
	}
}

// topicDue is how many frames the topic ring says are due.
func topicDue(o *outbox) (n int) {
	for i := range topicEntries(o) {
		if e := o.rings[abstract.ClassTopic].at(i); e.lane != nil {
			n += e.count
		} else {
			n++
		}
	}
	return n
}

func topicEntries(o *outbox) int {
	if o.queues == nil {
		return 0
	}
	return o.rings[abstract.ClassTopic].n
}

func TestIdleOutboxHoldsNoQueues(t *testing.T) {
	c := New(testConfig(nil), newFakeWire(), nil)
	c.Start()
	closed := c.NewLane(abstract.LaneConfig{})
	for n := range uint64(20) {
		require.NoError(t, c.Queue(testFrame(abstract.ReqTopic, n, 10)))
		require.NoError(t, c.Queue(testFrame(abstract.RspRPC, n, 10)))
		require.NoError(t, closed.Queue(testFrame(abstract.ReqTopic, n, 10)))
	}
	closed.Close()
	assert.NotNil(t, c.out.queues)
	c.Flush()
	assert.Nil(t, c.out.queues)
	assert.Zero(t, c.out.deadToks)
}

func TestTokensOfClosedLanesAreSwept(t *testing.T) {
	c := New(testConfig(nil), newFakeWire(), nil)
	for range 10_000 {
		l := c.NewLane(abstract.LaneConfig{})
		require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, 1, 0)))
		l.Close()
		l.Close()
		require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, 1, 0)), "a closed lane drops")
	}
	assert.LessOrEqual(t, topicEntries(&c.out), 128)
	assert.Zero(t, c.out.frames)
}

func TestLaneTakesOneFrameAboveItsLimit(t *testing.T) {
	for _, policy := range []abstract.Policy{abstract.DropOldest, abstract.DropNewest, abstract.CloseConnection} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			c := New(testConfig(nil), newFakeWire(), nil)
			l := c.NewLane(abstract.LaneConfig{MaxBytes: 10, Policy: policy})
			require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, 1, 5000)))
			assert.Zero(t, l.Missed())
			assert.Equal(t, 1, c.out.frames)
		})
	}
}

func TestMissedCountsMessagesNotFrames(t *testing.T) {
	c := New(testConfig(nil), newFakeWire(), nil)
	var notices []uint64
	l := c.NewLane(abstract.LaneConfig{MaxBytes: 100, Gap: func(n uint64) abstract.Frame {
		notices = append(notices, n)
		return testFrame(abstract.Gap, n, 0)
	}})
	for n := range uint64(3) {
		f := testFrame(abstract.ReqTopic, n, 80)
		f.Count = 5
		require.NoError(t, l.Queue(f))
	}
	c.Open()
	c.Start()
	c.Close(nil)
	assert.Equal(t, uint64(10), l.Missed())
	assert.LessOrEqual(t, len(notices), 1)
}

func TestEmptyFramesAreNotQueued(t *testing.T) {
	c := New(testConfig(nil), newFakeWire(), nil)
	require.NoError(t, c.Queue(abstract.Frame{}))
	require.NoError(t, c.NewLane(abstract.LaneConfig{}).Queue(abstract.Frame{}))
	assert.Zero(t, c.out.frames)
}

// A lane that alone has a thousand frames has one place in the ring of its class.
func TestFramesOfOneLaneShareTheirPlaceInTheClass(t *testing.T) {
	c := New(testConfig(nil), newFakeWire(), nil)
	a, b := c.NewLane(abstract.LaneConfig{}), c.NewLane(abstract.LaneConfig{})
	for n := range uint64(1000) {
		require.NoError(t, a.Queue(testFrame(abstract.ReqTopic, n, 10)))
	}
	assert.Equal(t, 1, topicEntries(&c.out))
	require.NoError(t, b.Queue(testFrame(abstract.ReqTopic, 1000, 10)))
	require.NoError(t, a.Queue(testFrame(abstract.ReqTopic, 1001, 10)))
	assert.Equal(t, 3, topicEntries(&c.out), "order among lanes is kept")
	batch := newBatch()
	defer batch.free()
	var got []uint64
	for c.out.next(batch, batchBytes) {
		for _, e := range batch.entries {
			got = append(got, numbers(e.bytes)[0])
		}
		batch.reset()
	}
	require.Len(t, got, 1002)
	assert.IsIncreasing(t, got)
}

// There may be a million lanes, which wait for a message that seldom comes.
func TestLaneIsSmallWhileItIsEmpty(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(lane{}), uintptr(64))
	c := New(testConfig(nil), newFakeWire(), nil)
	c.Start()
	l := c.NewLane(abstract.LaneConfig{}).(*lane)
	for n := range uint64(100) {
		require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, n, 10)))
	}
	assert.NotNil(t, l.frames)
	c.Flush()
	assert.Nil(t, l.frames, "what was written leaves nothing behind")
}

func TestRingKeepsLittleWhenEmpty(t *testing.T) {
	var r ring[entry]
	for n := range 1000 {
		r.push(entry{count: n})
	}
	for n := range 1000 {
		require.Equal(t, n, r.pop().count)
		r.shrink(ringKept)
	}
	assert.LessOrEqual(t, len(r.items), ringKept)
}

// TestWrittenFramesAreGivenBack: each once, also one whose request was withdrawn,
// and not before its bytes are written.
func TestWrittenFramesAreGivenBack(t *testing.T) {
	w := newFakeWire()
	c := New(testConfig(nil), w, nil)
	var given []string
	free := func(b []byte) {
		given = append(given, string(b))
		clear(b)
	}
	withdrawn := new(abstract.Mark)
	require.NoError(t, c.Queue(abstract.Frame{Count: 1, Bytes: []byte("first"), Free: free}))
	require.NoError(t, c.Queue(abstract.Frame{Count: 1, Bytes: []byte("taken back"), Free: free, Mark: withdrawn}))
	require.NoError(t, c.Queue(abstract.Frame{Count: 1, Bytes: []byte("last"), Free: free}))
	require.True(t, withdrawn.Withdraw())
	assert.Empty(t, given)
	c.out.uncork()
	c.writeInline()
	assert.Equal(t, []string{"first", "taken back", "last"}, given)
	assert.Equal(t, "firstlast", w.written.String())
}

func TestALanesPolicyCanChange(t *testing.T) {
	c := New(testConfig(nil), newFakeWire(), nil)
	l := c.NewLane(abstract.LaneConfig{MaxBytes: 100, Policy: abstract.DropNewest})
	for n := range uint64(3) {
		require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, n, 80)))
	}
	assert.Equal(t, uint64(2), l.Missed())
	l.SetPolicy(abstract.DropOldest)
	three := testFrame(abstract.ReqTopic, 3, 80)
	three.Count = 3
	require.NoError(t, l.Queue(three))
	assert.Equal(t, uint64(3), l.Missed(), "the first one made room")
	require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, 4, 80)))
	assert.Equal(t, uint64(6), l.Missed())
	l.SetPolicy(abstract.CloseConnection)
	assert.ErrorIs(t, l.Queue(testFrame(abstract.ReqTopic, 5, 80)), abstract.ErrOverloaded)
}
