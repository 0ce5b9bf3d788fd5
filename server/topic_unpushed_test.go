package server

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// asks is a request with what existing programs cannot say.
func asks(t *testing.T, s *TopicServer, op abstract.TopicOp, id, topic, data string, x message.TopicExtras) []abstract.BaseMessage {
	t.Helper()
	b, err := s.ep.protocol.Append(nil, &message.TopicRequest{Header: message.ID(id), Op: op, Topic: topic, Message: message.Raw(data), More: &x})
	require.NoError(t, err)
	return decode(t, s, b)
}

// withIDs gives "t" settings with which ids are looked at.
func withIDs(t *testing.T, s *TopicServer) {
	t.Helper()
	c, out := connect(t, s, bigFrames)
	raw := message.WriteTopicSettings(abstract.TopicSettings{Durable: true, Dedup: time.Hour})
	c.OnMessages(asks(t, s, abstract.TopicSet, "i", "t", "", message.TopicExtras{Settings: raw}))
	synctest.Wait()
	require.Equal(t, []string{"rsp i 0"}, out.said(t, s))
}

func TestWhatWasKeptAndNobodyKnewIsDelivered(t *testing.T) {
	cases := map[string]func(t *testing.T, s *TopicServer, c *conn){
		"the next one is published": func(*testing.T, *TopicServer, *conn) {},
		"it is published again": func(t *testing.T, s *TopicServer, c *conn) {
			c.OnMessages(asks(t, s, abstract.TopicPublish, "2", "t", "2", message.TopicExtras{MsgID: "two"}))
		},
		"somebody asks about the topic": func(t *testing.T, s *TopicServer, c *conn) {
			c.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicInfo, "i", "t", "")})
		},
		"somebody subscribes": func(t *testing.T, s *TopicServer, _ *conn) {
			c, _ := connect(t, s, bigFrames)
			c.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicSubscribe, "s", "t", "")})
		},
	}
	for name, then := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := &fakeLogs{}
				s := durableServer(t, logs)
				withIDs(t, s)
				sub, pushed := connect(t, s, bigFrames)
				sub.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicSubscribe, "s", "t", "")})
				wild, matched := connect(t, s, bigFrames)
				wild.OnMessages(asks(t, s, abstract.TopicSubscribe, "w", ">", "", message.TopicExtras{Sub: "w"}))
				synctest.Wait()
				pushed.drain()
				matched.drain()
				c, out := connect(t, s, bigFrames)
				c.OnMessages(publishes(t, s, "1"))
				synctest.Wait()
				logs.silent = 1
				c.OnMessages(asks(t, s, abstract.TopicPublish, "2", "t", "2", message.TopicExtras{MsgID: "two"}))
				synctest.Wait()
				require.Equal(t, []string{"rsp 1 0", "rsp 2 24"}, out.said(t, s))
				then(t, s, c)
				synctest.Wait()
				c.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicPublish, "3", "t", "3")})
				synctest.Wait()
				assert.Equal(t, []string{"push 1", "push 2", "push 3"}, pushed.said(t, s))
				assert.Equal(t, []string{"push 1", "push 2", "push 3"}, matched.said(t, s))
			})
		})
	}
}

func TestTheLogsPastIsNotPushedToWhoWantsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{}
		s := durableServer(t, logs)
		s.index.Lock()
		f, err := s.feedOf("t")
		s.index.Unlock()
		require.NoError(t, err)
		log, err := s.ready(f)
		require.NoError(t, err)
		old := request(t, s, abstract.TopicPublish, "old", "t", "0").(*message.TopicRequest)
		_, err = log.Append(context.Background(), []abstract.LogEntry{{Data: old.Frame()}}) // by the process before this one
		require.NoError(t, err)
		wild, matched := connect(t, s, bigFrames)
		wild.OnMessages(asks(t, s, abstract.TopicSubscribe, "w", ">", "", message.TopicExtras{Sub: "w"}))
		c, _ := connect(t, s, bigFrames)
		c.OnMessages(publishes(t, s, "1"))
		synctest.Wait()
		assert.Equal(t, []string{"rsp w 0", "push 1"}, matched.said(t, s))
	})
}

func TestNothingIsPassedOverBehindTheLastMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := durableServer(t, &fakeLogs{})
		c, _ := connect(t, s, bigFrames)
		c.OnMessages(publishes(t, s, "1", "2"))
		synctest.Wait()
		wild, matched := connect(t, s, bigFrames)
		wild.catchUps.running = maxCatchUps // others are being given much
		wild.OnMessages(asks(t, s, abstract.TopicSubscribe, "w", ">", "", message.TopicExtras{Sub: "w", From: message.TopicFrom{Where: message.FromLast}}))
		for i := 3; i <= 5; i++ {
			c.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicPublish, strconv.Itoa(i), "t", strconv.Itoa(i))})
			synctest.Wait()
		}
		wild.catchUps.work(wild.catchUps.next())
		assert.Equal(t, []string{"rsp w 0", "push 2", "push 3", "push 4", "push 5"}, matched.said(t, s))
	})
}

func TestAMessageForLaterThatNobodyKnewOfIsPublishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{}
		s := durableServer(t, logs)
		withIDs(t, s)
		sub, pushed := connect(t, s, bigFrames)
		sub.OnMessages([]abstract.BaseMessage{request(t, s, abstract.TopicSubscribe, "s", "t", "")})
		synctest.Wait()
		pushed.drain()
		c, out := connect(t, s, bigFrames)
		logs.silent = 1
		for i := range 3 {
			c.OnMessages(asks(t, s, abstract.TopicPublish, strconv.Itoa(i), "t", "7", message.TopicExtras{MsgID: "seven", Delay: time.Hour}))
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		assert.Equal(t, []string{"rsp 0 24", "rsp 1 0", "rsp 2 0"}, out.said(t, s))
		time.Sleep(time.Hour - 3*time.Minute - time.Second)
		synctest.Wait()
		assert.Empty(t, pushed.said(t, s))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"push 0"}, pushed.said(t, s), "an hour after it was published first")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Empty(t, pushed.said(t, s))
	})
}

// Consumer opens one that has nothing to deliver, unless there is a dealer.
func (l *fakeLog) Consumer(context.Context, string, abstract.ConsumerConfig) (abstract.LogConsumer, error) {
	if l.of.deal != nil {
		return l.of.deal, nil
	}
	return idle{}, nil
}

type idle struct{}

func (idle) Fetch(ctx context.Context, _ int) ([]abstract.LogDelivery, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (idle) Info(context.Context) (abstract.ConsumerInfo, error) { return abstract.ConsumerInfo{}, nil }
func (idle) Ack(context.Context, ...abstract.LogDelivery) error  { return nil }
func (idle) Close() error                                        { return nil }

func TestAConsumerWithoutMembersIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := durableServer(t, &fakeLogs{})
		c, out := connect(t, s, bigFrames)
		for _, name := range []string{"x", "y", "x"} {
			c.OnMessages(asks(t, s, abstract.TopicSubscribe, name, "t", "", message.TopicExtras{Sub: "a", Name: name}))
		}
		synctest.Wait()
		assert.Equal(t, []string{"rsp x 0", "rsp y 5", "rsp x 0"}, out.said(t, s))
		c.OnMessages(asks(t, s, abstract.TopicCancel, "c", "t", "", message.TopicExtras{Sub: "a"}))
		synctest.Wait()
		s.index.Lock()
		defer s.index.Unlock()
		assert.Empty(t, s.served)
	})
}

func TestDeadLettersGoWhereTheirTopicsOwnerMayPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := durableServer(t, &fakeLogs{})
		c, out := connect(t, s, bigFrames)
		closed := message.WriteTopicSettings(abstract.TopicSettings{Durable: true, Allow: abstract.TopicAllow{Publish: []string{"boss"}}})
		c.OnMessages(asks(t, s, abstract.TopicCreate, "1", "closed", "", message.TopicExtras{Settings: closed}))
		for id, dead := range []string{"closed", "t", "later"} {
			raw := message.WriteTopicSettings(abstract.TopicSettings{Durable: true, DeadLetter: dead})
			c.OnMessages(asks(t, s, abstract.TopicCreate, strconv.Itoa(id+2), "mine-"+dead, "", message.TopicExtras{Settings: raw}))
		}
		synctest.Wait()
		assert.Equal(t, []string{"rsp 1 0", "rsp 2 " + strconv.Itoa(int(abstract.Denied)), "rsp 3 0", "rsp 4 0"}, out.said(t, s))
	})
}

func TestADeadLetterThatIsPublishedAgainCanDieAgain(t *testing.T) {
	cases := map[string]struct {
		topic, from, dead string
		want              string // empty: nowhere
	}{
		"a message":                                {"jobs", "", "", "jobs.dead"},
		"with settings":                            {"jobs", "", "bin", "bin"},
		"published again, with all its metadata":   {"jobs", "jobs", "", "jobs.dead"},
		"a dead letter, of a topic that names one": {"bin", "jobs", "jobs", ""},
		"a dead letter":                            {"jobs.dead", "jobs", "", ""},
		"of a topic that names itself":             {"jobs", "", "jobs", ""},
	}
	for name, tc := range cases {
		m := &message.TopicRequest{Meta: abstract.Metadata{metaDeadTopic: tc.from}}
		got, err := deadTopic(&feed{name: tc.topic}, &abstract.TopicSettings{Durable: true, DeadLetter: tc.dead}, m)
		assert.Equal(t, tc.want, got, name)
		assert.Equal(t, tc.want == "", err != nil, name)
	}
}

func TestAnAnswerThatItsPeerDoesNotTakeIsNotOneOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := durableServer(t, &fakeLogs{})
		c, _ := connect(t, s, bigFrames)
		c.OnMessages(publishes(t, s, strconv.Quote(strings.Repeat("x", 10_000))))
		synctest.Wait()
		reader, out := connect(t, s, 4096)
		reader.OnMessages(asks(t, s, abstract.TopicRead, "r", "t", "", message.TopicExtras{From: message.TopicFrom{Where: message.FromAll}}))
		synctest.Wait()
		assert.Equal(t, []string{"rsp r 23"}, out.said(t, s))
	})
}
