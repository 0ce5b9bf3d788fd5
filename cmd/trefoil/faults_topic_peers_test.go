//go:build unix

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

const wireTopic = 2

// topicPeer is a wirePeer that does with topics what it likes.
type topicPeer struct {
	*wirePeer
	in  *bufio.Reader
	ids int
}

func dialTopics(t *testing.T, addr string) *topicPeer {
	t.Helper()
	p, _ := dialWire(t, addr, "{}")
	return &topicPeer{wirePeer: p, in: bufio.NewReader(p)}
}

// wireSaid is what a broker says about topics: an answer, a push, or a notice.
type wireSaid struct {
	id        string
	mtype     uint32
	RCode     int    `json:"rcode"`
	Message   string `json:"message"`
	Epoch     string `json:"epoch"`
	Recovered *bool  `json:"recovered"`
	Offset    uint64 `json:"offset"`
	Op        int    `json:"optype"`
	Data      any    `json:"topic_msg"`
	Sub       string `json:"sub"`
	Delivery  uint64 `json:"delivery"`
	Missed    uint64 `json:"missed"`
}

func (p *topicPeer) read() (m wireSaid) {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(patience)))
	var head [12]byte
	_, err := io.ReadFull(p.in, head[:])
	require.NoError(p.t, err)
	rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
	_, err = io.ReadFull(p.in, rest)
	require.NoError(p.t, err)
	n := binary.BigEndian.Uint32(head[8:])
	require.NoError(p.t, json.Unmarshal(rest[n:], &m), "%s", rest[n:])
	m.id, m.mtype = string(rest[:n]), binary.BigEndian.Uint32(head[4:])
	return m
}

// say sends a request whose answer nobody waits for, unless the connection is closed.
func (p *topicPeer) say(body string) (id string) {
	p.ids++
	id = "q" + strconv.Itoa(p.ids)
	_, _ = p.Write(wireFrame(wireTopic, id, body))
	return id
}

// asks sends a request, and returns its answer.
func (p *topicPeer) asks(body string) wireSaid {
	p.t.Helper()
	for id := p.say(body); ; {
		if m := p.read(); m.id == id {
			return m
		}
	}
}

// bystander is a publisher and a subscriber who do nothing wrong.
type bystander struct {
	t      *testing.T
	topics *client.TopicClient
	said   int
	got    atomic.Int64
	missed atomic.Int64
}

func newBystander(t *testing.T, addr string) *bystander {
	t.Helper()
	b := &bystander{t: t, topics: dialFar(t, addr)}
	require.NoError(t, b.topics.CreateWith(t.Context(), "news", abstract.TopicSettings{History: abstract.History{Count: 10}}))
	_, err := b.topics.Subscribe(t.Context(), "news", func(client.Message) { b.got.Add(1) }, client.OnGap(func(client.Gap) { b.missed.Add(1) }))
	require.NoError(t, err)
	return b
}

// served checks that others are served as ever.
func (b *bystander) served() {
	b.t.Helper()
	for range 100 {
		b.said++
		require.NoError(b.t, b.topics.Publish(b.t.Context(), "news", b.said))
	}
	require.Eventually(b.t, func() bool { return b.got.Load() == int64(b.said) }, patience, time.Millisecond)
	require.Zero(b.t, b.missed.Load())
}

// flood publishes many messages, a thousand at a time.
func (b *bystander) flood(topic string, n int, text func(i int) any) {
	b.t.Helper()
	for i := 0; i < n; {
		var sent []*client.PublishFuture
		for ; i < n && len(sent) < 1000; i++ {
			sent = append(sent, b.topics.PublishFuture(b.t.Context(), topic, text(i)))
		}
		for _, f := range sent {
			require.NoError(b.t, f.Wait(b.t.Context()))
		}
	}
}

// mischief is one way to do harm, to a broker of its own, and how many MiB that may cost.
func mischief(t *testing.T, mib int, do func(t *testing.T, addr string, b *bystander)) {
	t.Helper()
	cmd := exec.Command(fastBinary(t), "broker", "--listen", anyPort, "--log-level", "error", "--ping-interval", "1m", "--session-interval", "1m")
	cmd.Env = []string{"GOGC=25"} // what it holds is to be seen
	broker := startCommand(t, cmd)
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	b := newBystander(t, addr)
	b.served()
	before := memory(broker)
	do(t, addr, b)
	grown := (memory(broker) - before) >> 10
	b.served()
	t.Logf("the broker's memory has grown by %d MiB", grown)
	assert.LessOrEqual(t, grown, mib, "MiB")
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

// TestTopicRequestsWithoutSenseAreAnswered sends what is over a limit, or means nothing.
func TestTopicRequestsWithoutSenseAreAnswered(t *testing.T) {
	mischief(t, 100, func(t *testing.T, addr string, b *bystander) {
		p := dialTopics(t, addr)
		long := strings.Repeat("x", 300)
		for name, c := range map[string]struct {
			body  string
			rcode int
		}{
			"filter of 1,000 levels":      {`{"optype":2,"sub":"s","topic_key":` + quote(strings.Repeat("*.", 500)+">") + `}`, 5},
			"longer filter":               {`{"optype":2,"sub":"s","topic_key":` + quote(strings.Repeat("a.", 1000)+">") + `}`, 3},
			"wildcards without a name":    {`{"optype":2,"topic_key":"a.>"}`, 8},
			"name of a subscription":      {`{"optype":2,"topic_key":"news","sub":"` + long + `"}`, 3},
			"group":                       {`{"optype":2,"topic_key":"news","sub":"s","group":"` + long + `"}`, 3},
			"where of many":               {`{"optype":2,"topic_key":"news","sub":"s","where":{` + strings.TrimSuffix(strings.Repeat(`"a":"b",`, 200), ",") + `}}`, 0},
			"where of too many":           {`{"optype":2,"topic_key":"news","sub":"s2","where":{` + manyMembers(17, 1) + `}}`, 5},
			"where that is too long":      {`{"optype":2,"topic_key":"news","sub":"s3","where":{` + manyMembers(16, 8000) + `}}`, 5},
			"where of one":                {`{"optype":2,"topic_key":"news","sub":"s4","where":["a"]}`, 5},
			"window below nothing":        {`{"optype":2,"topic_key":"news","sub":"s5","window":-1}`, 3},
			"window above all":            {`{"optype":2,"topic_key":"news","sub":"s6","window":99999999999}`, 0},
			"from below nothing":          {`{"optype":2,"topic_key":"news","sub":"s7","from":-5}`, 3},
			"from nowhere":                {`{"optype":2,"topic_key":"news","sub":"s8","from":{"where":1}}`, 5},
			"from many, an offset":        {`{"optype":2,"topic_key":"*","sub":"s9","from":5}`, 7},
			"settings too long":           {`{"optype":0,"topic_key":"n1","settings":{"schema":` + quote(strings.Repeat("x", 70_000)) + `}}`, 5},
			"settings too deep":           {`{"optype":0,"topic_key":"n2","settings":{"schema":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`, 3},
			"settings of no kind":         {`{"optype":0,"topic_key":"n3","settings":[]}`, 5},
			"settings without end":        {`{"optype":0,"topic_key":"n4","settings":{"history":{"count":9223372036854775807}}}`, 5},
			"settings above any number":   {`{"optype":0,"topic_key":"n5","settings":{"history":{"bytes":92233720368547758070}}}`, 5},
			"settings nobody knows":       {`{"optype":0,"topic_key":"n6","settings":{"gift":1}}`, 5},
			"set without settings":        {`{"optype":16,"topic_key":"news"}`, 5},
			"set of what is not there":    {`{"optype":16,"topic_key":"nowhere","settings":{}}`, 8},
			"epoch of another":            {`{"optype":4,"topic_key":"news","topic_msg":1,"epoch":"another"}`, 28},
			"id of a message":             {`{"optype":4,"topic_key":"news","topic_msg":1,"msg_id":"` + long + `"}`, 3},
			"later, where nothing lasts":  {`{"optype":4,"topic_key":"news","topic_msg":1,"delay_ms":1000}`, 25},
			"later, in the far future":    {`{"optype":4,"topic_key":"news","topic_msg":1,"at_ms":99999999999999999}`, 25},
			"read of a far offset":        {`{"optype":21,"topic_key":"news","from":9223372036854775807}`, 0},
			"read of more than there are": {`{"optype":21,"topic_key":"news","from":"all","most":2147483647}`, 0},
			"list of all, and more":       {`{"optype":18,"topic_key":">","most":2147483647}`, 0},
			"info of nothing":             {`{"optype":17,"topic_key":"nowhere"}`, 8},
			"cancel of nothing":           {`{"optype":3,"topic_key":"news","sub":"never"}`, 8},
			"operation of nobody":         {`{"optype":99,"topic_key":"news"}`, 7},
		} {
			a := p.asks(c.body)
			assert.Equal(t, c.rcode, a.RCode, "%s: %s", name, a.Message)
			assert.Less(t, len(a.Message), 4096, name)
			if c.rcode != 0 {
				assert.NotEmpty(t, a.Message, name)
			}
		}
		assert.Zero(t, p.asks(`{"optype":2,"topic_key":"news","sub":"last"}`).RCode, "it is served on")
	})
}

// manyMembers are n members of an object whose values have so many bytes.
func manyMembers(n, bytes int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"m%d":%q`, i, strings.Repeat("x", bytes)))
	}
	return strings.Join(list, ",")
}

// TestOffsetsThatAreNotThereAreNotBelieved subscribes from where nothing is, and in an
// incarnation that never was.
func TestOffsetsThatAreNotThereAreNotBelieved(t *testing.T) {
	mischief(t, 50, func(t *testing.T, addr string, b *bystander) { // the topic keeps 10 messages, to offset 100
		for name, c := range map[string]struct {
			from      string
			recovered bool
			next      uint64 // the first that comes
		}{
			"far beyond the end":       {`"from":9223372036854775807`, false, 101},
			"beyond the end":           {`"from":102`, false, 101},
			"the next one":             {`"from":101`, true, 101},
			"gone":                     {`"from":1`, false, 91},
			"none":                     {`"from":0`, false, 91},
			"of another incarnation":   {`"from":95,"epoch":"never"`, false, 91},
			"the same, beyond the end": {`"from":500,"epoch":"never"`, false, 91},
		} {
			p := dialTopics(t, addr)
			a := p.asks(`{"optype":2,"topic_key":"news","sub":"s",` + c.from + `}`)
			require.Zero(t, a.RCode, "%s: %s", name, a.Message)
			require.NotNil(t, a.Recovered, name)
			assert.Equal(t, c.recovered, *a.Recovered, name)
			assert.Equal(t, c.next-1, a.Offset, name)
			if c.next <= 100 {
				assert.Equal(t, c.next, p.read().Offset, name)
			}
			require.NoError(t, p.Close())
		}
	})
}

// TestAcknowledgementsOfOthersCountForNothing has members of a group acknowledge what they
// were never given, while an honest one works.
func TestAcknowledgementsOfOthersCountForNothing(t *testing.T) {
	mischief(t, 50, func(t *testing.T, addr string, b *bystander) {
		ctx := t.Context()
		require.NoError(t, b.topics.Create(ctx, "jobs"))
		bad := dialTopics(t, addr)
		require.Zero(t, bad.asks(`{"optype":2,"topic_key":"jobs","sub":"1","group":"g"}`).RCode)
		first := make(chan struct{})
		var mu sync.Mutex
		got := map[string]int{}
		_, err := b.topics.Subscribe(ctx, "jobs", func(m client.Message) {
			mu.Lock()
			defer mu.Unlock()
			if got[string(m.Data)]++; len(got) == 1 {
				close(first)
			}
		}, client.QueueGroup("g"))
		require.NoError(t, err)
		const jobs = 500
		for i := range jobs {
			require.NoError(t, b.topics.Publish(ctx, "jobs", i))
			for _, ack := range []string{
				`"sub":"1","deliveries":[2,3,4,5,999,9223372036854775807]`, `"sub":"2","deliveries":[1,2,3]`, `"deliveries":[1]`,
				`"sub":"1","deliveries":[7],"nack":1`, `"sub":"1","deliveries":[1],"progress":1`, `"sub":"1"`,
				`"sub":"1","deliveries":[-1]`, `"sub":"1","deliveries":"all"`,
			} {
				bad.say(`{"optype":19,"topic_key":"jobs",` + ack + `}`)
			}
		}
		bad.say(`{"optype":19,"topic_key":"jobs","sub":"1","deliveries":[` + strings.TrimSuffix(strings.Repeat("1,", 5000), ",") + `]}`)
		assert.Zero(t, bad.asks(`{"optype":17,"topic_key":"jobs"}`).RCode, "it is served on")
		<-first
		done := func() int { mu.Lock(); defer mu.Unlock(); return len(got) }
		require.Eventually(t, func() bool { return done() == jobs-1 }, patience, time.Millisecond, "one is in the other's hands")
		require.NoError(t, bad.Close())
		require.Eventually(t, func() bool { return done() == jobs }, patience, time.Millisecond, "and comes back")
		for what, n := range got {
			assert.Equal(t, 1, n, what)
		}
	})
}

// TestGroupMembersThatReadLateGetAllTheyWereGiven has a member that wants more at a time
// than its queue holds.
func TestGroupMembersThatReadLateGetAllTheyWereGiven(t *testing.T) {
	mischief(t, 100, func(t *testing.T, addr string, b *bystander) {
		ctx := t.Context()
		require.NoError(t, b.topics.Create(ctx, "jobs"))
		p := dialTopics(t, addr)
		require.Zero(t, p.asks(`{"optype":2,"topic_key":"jobs","sub":"1","group":"g","window":2147483647}`).RCode)
		const jobs = 80
		text := strings.Repeat("x", 150_000)
		for range jobs {
			require.NoError(t, b.topics.Publish(ctx, "jobs", text))
		}
		for i := range jobs {
			m := p.read()
			require.NotZero(t, m.Delivery, "%d: %d missed", i, m.Missed)
			p.say(fmt.Sprintf(`{"optype":19,"topic_key":"jobs","sub":"1","deliveries":[%d]}`, m.Delivery))
		}
		require.Eventually(t, func() bool {
			info, err := b.topics.Info(ctx, "jobs")
			return err == nil && info.Groups[0].Waiting == 0
		}, patience, time.Millisecond)
	})
}

// TestSubscriptionsOfAPeerMeetTheirLimits subscribes as often as it can, in frames that
// are far longer than they need to be.
func TestSubscriptionsOfAPeerMeetTheirLimits(t *testing.T) {
	const limit = 4096
	t.Run("names", func(t *testing.T) {
		mischief(t, 64, func(t *testing.T, addr string, b *bystander) {
			p := dialTopics(t, addr)
			for i := range 10_000 {
				a := p.asks(fmt.Sprintf(`{"optype":2,"topic_key":"news","sub":"%d","where":{"a":"b"}}`, i))
				require.Equal(t, i >= limit, a.RCode == 20, "%d: %d %s", i, a.RCode, a.Message)
			}
		})
	})
	t.Run("padding", func(t *testing.T) {
		mischief(t, 64, func(t *testing.T, addr string, b *bystander) {
			p := dialTopics(t, addr)
			pad := strings.Repeat("x", 1<<20)
			for i := range long(300, 1000) {
				a := p.asks(fmt.Sprintf(`{"optype":2,"topic_key":"news","sub":"%d","group":"g%d","where":{"a":"b"},"pad":%q}`, i, i, pad))
				require.Zero(t, a.RCode, a.Message)
			}
		})
	})
}

// TestFiltersOfAPeerMeetTheirLimits subscribes to filters that make as many levels as they
// can, and every one of which a publish would pass by.
func TestFiltersOfAPeerMeetTheirLimits(t *testing.T) {
	mischief(t, 160, func(t *testing.T, addr string, b *bystander) {
		const depth = 64
		topic := strings.TrimSuffix(strings.Repeat("a.", depth), ".")
		require.NoError(t, b.topics.Create(t.Context(), topic))
		made := 0
		for range 8 {
			p := dialTopics(t, addr)
			for i := 0; ; i++ {
				levels := strings.Split(topic, ".")
				for bit := range 12 {
					if i>>bit&1 == 1 {
						levels[bit] = "*"
					}
				}
				levels[12], levels[depth-1] = "*", "b"
				a := p.asks(fmt.Sprintf(`{"optype":2,"topic_key":%q,"sub":"%d"}`, strings.Join(levels, "."), i))
				if a.RCode != 0 {
					require.Equal(t, 20, a.RCode, a.Message)
					break
				}
				made++
			}
		}
		t.Logf("%d filters of %d levels", made, depth)
		for i := range 200 {
			require.NoError(t, b.topics.Publish(t.Context(), topic, i))
		}
	})
}

// TestStormsOfComingAndGoingDisturbNobody subscribes and cancels without end on a topic
// that tells of it, to watchers who do not read.
func TestStormsOfComingAndGoingDisturbNobody(t *testing.T) {
	mischief(t, 300, func(t *testing.T, addr string, b *bystander) {
		require.NoError(t, b.topics.CreateWith(t.Context(), "room", abstract.TopicSettings{Presence: true}))
		var seen atomic.Int64
		_, err := b.topics.Subscribe(t.Context(), "room", func(client.Message) {}, client.OnPresence(func(p client.Presence) { seen.Add(int64(max(1, p.Missed))) }))
		require.NoError(t, err)
		for range 20 {
			require.Zero(t, dialTopics(t, addr).asks(`{"optype":2,"topic_key":"room","sub":"w","presence":1}`).RCode)
		}
		cycles := long(5_000, 50_000)
		var storms sync.WaitGroup
		for range 2 {
			p := dialTopics(t, addr)
			storms.Go(func() {
				for i := range cycles {
					p.say(`{"optype":2,"topic_key":"room","sub":"s"}`)
					p.say(`{"optype":3,"topic_key":"room","sub":"s"}`)
					if i%500 == 499 { // who lets answers pile up is closed
						p.asks(`{"optype":3,"topic_key":"room","sub":"s"}`)
					}
				}
			})
		}
		storms.Wait()
		require.Eventually(t, func() bool { return seen.Load() == int64(20+4*cycles) }, patience, time.Millisecond, "who reads is told of all, or of how many not: %s", lazily(func() string { return strconv.FormatInt(seen.Load(), 10) }))
	})
}

// TestCatchUpsThatNobodyReadsCostBoundedMemory asks for a long history, over and over, and
// reads nothing.
func TestCatchUpsThatNobodyReadsCostBoundedMemory(t *testing.T) {
	history := func(t *testing.T, b *bystander) {
		require.NoError(t, b.topics.CreateWith(t.Context(), "giant", abstract.TopicSettings{History: abstract.History{Count: 100_000}}))
		text := strings.Repeat("x", 1000)
		b.flood("giant", 50_000, func(int) any { return text })
	}
	t.Run("100 connections", func(t *testing.T) {
		mischief(t, 400, func(t *testing.T, addr string, b *bystander) {
			history(t, b)
			for range 100 {
				require.Zero(t, dialTopics(t, addr).asks(`{"optype":2,"topic_key":"giant","sub":"s","from":"all"}`).RCode)
			}
			b.served()
		})
	})
	t.Run("4,000 subscriptions", func(t *testing.T) {
		mischief(t, 300, func(t *testing.T, addr string, b *bystander) {
			history(t, b)
			p := dialTopics(t, addr)
			for i := range 4000 {
				p.say(fmt.Sprintf(`{"optype":2,"topic_key":"giant","sub":"%d","from":"all"}`, i))
			}
			b.served()
			got := 0
			for i := map[string]uint64{}; got < 20_000; got++ { // and when it reads, all is in order
				if m := p.read(); m.mtype == wireTopic {
					require.Equal(t, i[m.Sub]+1, m.Offset)
					i[m.Sub] = m.Offset
				}
			}
		})
	})
}

// TestGroupsThatNobodyWorksInCostBoundedMemory makes groups whose members take one message
// each, and never acknowledge it.
func TestGroupsThatNobodyWorksInCostBoundedMemory(t *testing.T) {
	mischief(t, 300, func(t *testing.T, addr string, b *bystander) {
		require.NoError(t, b.topics.Create(t.Context(), "jobs"))
		p := dialTopics(t, addr)
		groups := 1000
		for i := range groups {
			require.Zero(t, p.asks(fmt.Sprintf(`{"optype":2,"topic_key":"jobs","sub":"%d","group":"%d"}`, i, i)).RCode)
		}
		b.flood("jobs", long(5_000, 20_000), func(i int) any { return i })
	})
}
