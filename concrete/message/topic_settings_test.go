package message_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func TestTopicSettingsComeBackAsTheyWere(t *testing.T) {
	for _, s := range []abstract.TopicSettings{
		{},
		{Slow: abstract.SlowLossless, Retain: true, TTL: time.Second, MaxBytes: 10, Dedup: time.Minute, Presence: true},
		{History: abstract.History{Count: 3, Bytes: 4, Age: 5 * time.Millisecond}, Schema: json.RawMessage(`{"type":"object"}`)},
		{Durable: true, MaxDeliver: 3, AckWait: time.Second, DeadLetter: "d", Allow: abstract.TopicAllow{Publish: []string{"a*"}, Subscribe: []string{"b"}}},
	} {
		got, err := message.ReadTopicSettings(message.WriteTopicSettings(s))
		require.NoError(t, err)
		assert.Equal(t, s, got)
	}
}

func TestWrongTopicSettingsAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"not known":               {`{"histroy":{"count":1}}`, `histroy`},
		"wrong kind":              {`{"retain":"yes"}`, `"retain"`},
		"wrong kind inside":       {`{"history":{"count":"3"}}`, `history.count`},
		"policy":                  {`{"slow":"wait"}`, `drop-oldest, drop-newest, disconnect, lossless`},
		"negative":                {`{"ttl_ms":-1}`, `negative`},
		"age alone in memory":     {`{"history":{"age_ms":10}}`, `needs a count`},
		"too much in memory":      {`{"history":{"count":100000000}}`, `make it durable`},
		"delivery of a plain one": {`{"max_deliver":3}`, `durable`},
		"lossless and durable":    {`{"durable":true,"slow":"lossless"}`, `lossless`},
		"no object":               {`[]`, `settings`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := message.ReadTopicSettings(message.Raw(c.text))
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.ErrorContains(t, err, c.says)
		})
	}
}
