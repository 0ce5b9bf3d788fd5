package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// begun is an answer to a subscription to many topics.
type begun struct {
	RCode     int     `json:"rcode"`
	Message   string  `json:"message"`
	Recovered *bool   `json:"recovered"`
	Resume    *resume `json:"resume"`
}

type resume struct {
	Mark    string      `json:"mark"`
	Places  []placeSaid `json:"places"`
	Partial int         `json:"partial,omitempty"`
}

type placeSaid struct {
	Topic     string `json:"topic"`
	Epoch     string `json:"epoch,omitempty"`
	Offset    uint64 `json:"offset,omitempty"`
	Recovered *bool  `json:"recovered,omitempty"`
}

// lost are the topics that the answer says something is missing of.
func (b *begun) lost() (topics []string) {
	for _, p := range b.Resume.Places {
		if p.Recovered != nil && !*p.Recovered {
			topics = append(topics, p.Topic)
		}
	}
	slices.Sort(topics)
	return topics
}

func (b *begun) whole() bool { return b.Recovered != nil && *b.Recovered }

// subscribes asks for one to many topics, with a resume unless that is empty.
func (r *raw) subscribes(filter, tag, resume string) (b begun) {
	r.t.Helper()
	if resume != "" {
		resume = `,"resume":` + resume
	}
	r.send(frame{2, "s" + tag, fmt.Sprintf(`{"optype":2,"topic_key":%q,"sub":%q%s}`, filter, tag, resume)})
	for {
		f := r.expect()
		if f.id == "s"+tag {
			require.NoError(r.t, json.Unmarshal([]byte(f.body), &b))
			return b
		}
	}
}

// pushed are the topics and offsets of what comes until a publish of its own does.
func (r *raw) pushed(tag string) (list []string) {
	r.t.Helper()
	r.send(frame{2, "c", `{"optype":0,"topic_key":"end"}`}, frame{2, "e", `{"optype":2,"topic_key":"end"}`}, frame{2, "p", `{"optype":4,"topic_key":"end","topic_msg":1}`})
	for {
		f := r.expect()
		switch topic, _ := f.field("topic_key").(string); {
		case f.id == "p" && f.mtype == 3:
			slices.Sort(list)
			return list
		case topic != "" && f.field("sub") == tag:
			list = append(list, fmt.Sprint(topic, " ", f.field("offset")))
		}
	}
}

func said(r *resume) string {
	b, _ := json.Marshal(r)
	return string(b)
}

// inPlaces has a.kept with five messages, the last three of which are kept, a.plain with
// five, a.empty and b.
func inPlaces(t *testing.T, test func(t *testing.T, s *started, c *client.TopicClient)) {
	inHall(t, func(t *testing.T, s *started, c *client.TopicClient) {
		require.NoError(t, c.CreateWith(t.Context(), "a.kept", abstract.TopicSettings{History: abstract.History{Count: 3}}))
		for _, topic := range []string{"a.plain", "a.empty", "b"} {
			require.NoError(t, c.Create(t.Context(), topic))
		}
		for i := range 5 {
			for _, topic := range []string{"a.kept", "a.plain", "b"} {
				require.NoError(t, c.Publish(t.Context(), topic, i))
			}
		}
		test(t, s, c)
	}, server.WithPing(time.Minute, 5), server.WithSessions(time.Minute, 5))
}

func TestWhoAsksIsToldWhereASubscriptionToManyTopicsBegins(t *testing.T) {
	inPlaces(t, func(t *testing.T, s *started, c *client.TopicClient) {
		r := rawOver(t, s.network, "broker").hello()
		old := r.subscribes("a.*", "old", "")
		assert.Zero(t, old.RCode)
		assert.Nil(t, old.Resume, "who does not ask is told nothing")
		assert.Nil(t, old.Recovered)
		b := r.subscribes("a.*", "1", `{"places":[]}`)
		require.NotNil(t, b.Resume)
		assert.Nil(t, b.Recovered, "it does not go on")
		info, err := c.Info(t.Context(), "a.kept")
		require.NoError(t, err)
		assert.Contains(t, b.Resume.Places, placeSaid{Topic: "a.kept", Epoch: info.Epoch, Offset: 5})
		assert.Len(t, b.Resume.Places, 2, "of a.empty there is nothing to say, and b is another's")
		group := r.subscribes("a.*", "2", `{"places":[]}`)
		assert.NotNil(t, group.Resume)
		r.send(frame{2, "g", `{"optype":2,"topic_key":"a.*","sub":"3","group":"g","resume":{"places":[]}}`})
		assert.Nil(t, r.expect().field("resume"), "what a group gets is not one member's")

		require.NoError(t, c.Publish(t.Context(), "a.empty", "first"))
		require.NoError(t, c.Publish(t.Context(), "a.empty", "second"))
		synctest.Wait()
		epochs := map[any]any{}
		for len(epochs) < 2 { // of four subscriptions
			if f := r.expect(); f.field("sub") == "1" {
				epochs[f.field("offset")] = f.field("epoch")
			}
		}
		info, err = c.Info(t.Context(), "a.empty")
		require.NoError(t, err)
		assert.Equal(t, map[any]any{1.: info.Epoch, 2.: nil}, epochs, "the first message says which incarnation begins")
	})
}

func TestWhereASubscriberSaysItWasIsNotBelieved(t *testing.T) {
	inPlaces(t, func(t *testing.T, s *started, c *client.TopicClient) {
		first := rawOver(t, s.network, "broker").hello().subscribes("a.*", "1", `{"places":[]}`)
		places := map[string]placeSaid{}
		for _, p := range first.Resume.Places {
			places[p.Topic] = p
		}
		at := func(topic string, offset uint64) placeSaid {
			p := places[topic]
			p.Offset = offset
			return p
		}
		mark := first.Resume.Mark
		for name, tc := range map[string]struct {
			resume resume
			whole  bool
			lost   []string
			pushed []string
		}{
			"where it was":              {resume{mark, first.Resume.Places, 0}, true, nil, nil},
			"earlier":                   {resume{mark, []placeSaid{at("a.kept", 3), at("a.plain", 5)}, 0}, true, nil, []string{"a.kept 4", "a.kept 5"}},
			"right before what is kept": {resume{mark, []placeSaid{at("a.kept", 2), at("a.plain", 5)}, 0}, true, nil, []string{"a.kept 3", "a.kept 4", "a.kept 5"}},
			"too early":                 {resume{mark, []placeSaid{at("a.kept", 1), at("a.plain", 4)}, 0}, true, []string{"a.kept", "a.plain"}, []string{"a.kept 3", "a.kept 4", "a.kept 5"}},
			"ahead":                     {resume{mark, []placeSaid{at("a.kept", 6), at("a.plain", 1<<62)}, 0}, true, []string{"a.kept", "a.plain"}, nil},
			"another incarnation":       {resume{mark, []placeSaid{{Topic: "a.kept", Epoch: "never", Offset: 5}, at("a.plain", 5)}, 0}, true, []string{"a.kept"}, []string{"a.kept 3", "a.kept 4", "a.kept 5"}},
			"no incarnation":            {resume{mark, []placeSaid{{Topic: "a.kept", Offset: 5}, at("a.plain", 5)}, 0}, true, []string{"a.kept"}, nil},
			"of what is not there":      {resume{mark, append(slices.Clone(first.Resume.Places), placeSaid{Topic: "a.never", Epoch: "e", Offset: 5}), 0}, true, nil, nil},
			"the last of two counts":    {resume{mark, []placeSaid{at("a.kept", 1), at("a.kept", 5), at("a.plain", 5)}, 0}, true, nil, nil},
			"nothing":                   {resume{mark, []placeSaid{}, 0}, true, []string{"a.kept", "a.plain"}, []string{"a.kept 3", "a.kept 4", "a.kept 5"}},
			"not all":                   {resume{mark, []placeSaid{at("a.kept", 4)}, 1}, false, nil, []string{"a.kept 5"}},
			"of another broker":         {resume{"x.y.5", first.Resume.Places, 0}, false, nil, nil},
			"of nobody":                 {resume{"?", first.Resume.Places, 0}, false, nil, nil},
			"of an odd revision":        {resume{mark[:strings.LastIndexByte(mark, '.')] + ".x", first.Resume.Places, 0}, false, nil, nil},
			"of the future":             {resume{mark + "000000", first.Resume.Places, 0}, true, nil, nil},
		} {
			r := rawOver(t, s.network, "broker").hello()
			b := r.subscribes("a.*", "1", said(&tc.resume))
			require.Zero(t, b.RCode, "%s: %s", name, b.Message)
			assert.Equal(t, tc.whole, b.whole(), name)
			assert.Equal(t, tc.lost, b.lost(), name)
			synctest.Wait()
			assert.Equal(t, tc.pushed, r.pushed("1"), name)
			for _, p := range b.Resume.Places {
				assert.NotEqual(t, "a.never", p.Topic, name)
			}
		}
	})
}

func TestPlacesElsewhereAreRefused(t *testing.T) {
	inPlaces(t, func(t *testing.T, s *started, c *client.TopicClient) {
		r := rawOver(t, s.network, "broker").hello()
		b := r.subscribes("a.*", "1", `{"mark":"m","places":[{"topic":"b","offset":1}]}`)
		assert.Equal(t, 5, b.RCode)
		assert.Contains(t, b.Message, `leave that out`)
		b = r.subscribes("a.*", "1", `{"mark":"m","places":[`+strings.Repeat(`{"topic":"a.b"},`, 1024)+`{"topic":"a.b"}]}`)
		assert.Equal(t, 5, b.RCode)
		info, err := c.Info(t.Context(), "a.kept")
		require.NoError(t, err)
		assert.Zero(t, info.Subscribers, "it is not subscribed")
		assert.Zero(t, r.subscribes("a.*", "1", `{"places":[]}`).RCode, "it is served on")
	})
}

func TestWhatIsSaidOfPlacesFitsAFrameOfItsReader(t *testing.T) {
	inPlaces(t, func(t *testing.T, s *started, c *client.TopicClient) {
		for i := range 50 {
			topic := fmt.Sprint("a.", i)
			require.NoError(t, c.Create(t.Context(), topic))
			require.NoError(t, c.Publish(t.Context(), topic, 1))
		}
		r := rawOver(t, s.network, "broker")
		r.send(frame{16, "h", `{"version":1,"agent":"test","max_frame":2048}`})
		require.Zero(t, r.expect().rcode())
		b := r.subscribes("a.*", "1", `{"places":[]}`)
		assert.Equal(t, 1, b.Resume.Partial)
		assert.NotEmpty(t, b.Resume.Places)
		assert.Less(t, len(b.Resume.Places), 40)
		b = r.subscribes("a.*", "2", said(&resume{b.Resume.Mark, []placeSaid{}, 0}))
		assert.False(t, b.whole(), "more is lost than there is room to say")
	})
}

func TestPlacesInTopicsThatOneMayNotHaveSayNothingOfThem(t *testing.T) {
	inClub(t, func(c *club) {
		owner, anna := c.as("owner"), c.as("anna")
		secret := abstract.TopicSettings{History: abstract.History{Count: 10}, Allow: abstract.TopicAllow{Subscribe: []string{"bert"}}}
		require.NoError(c, owner.CreateWith(c.Context(), "orders.open", abstract.TopicSettings{History: abstract.History{Count: 10}}))
		require.NoError(c, owner.CreateWith(c.Context(), "orders.secret", secret))
		for _, topic := range []string{"orders.open", "orders.secret"} {
			require.NoError(c, owner.Publish(c.Context(), topic, 1))
		}
		info, err := c.as("bert").Info(c.Context(), "orders.secret")
		require.NoError(c, err)
		collect(c.T, anna, "orders.*")
		r := rawOver(c.T, c.network, "broker")
		r.send(frame{16, "h", fmt.Sprintf(`{"version":1,"agent":"test","token":%q}`, c.tokens["anna"])})
		require.Zero(c, r.expect().rcode())
		first := r.subscribes("orders.*", "1", `{"places":[]}`)
		require.Len(c, first.Resume.Places, 1)
		assert.Equal(c, "orders.open", first.Resume.Places[0].Topic)
		guess := &resume{first.Resume.Mark, []placeSaid{{Topic: "orders.secret", Epoch: info.Epoch}}, 0}
		b := r.subscribes("orders.*", "2", said(guess))
		for _, p := range b.Resume.Places {
			if p.Topic == "orders.secret" {
				assert.Empty(c, p.Epoch)
				assert.Zero(c, p.Offset)
			}
		}
		synctest.Wait()
		denied := r.subscribes("news.>", "3", said(guess))
		assert.Equal(c, 21, denied.RCode, "the filter is judged before anything else")
	})
}
