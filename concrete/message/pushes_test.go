package message

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// bodies are pushes of some topics in an order that makes every use of what is remembered,
// bodies that only begin alike, and some that are wrong.
var pushBodies = []string{
	`{"optype":4,"topic_key":"a","topic_msg":1,"offset":1}`,
	`{"optype":4,"topic_key":"a","topic_msg":"two","offset":2}`,
	`{"optype":4,"topic_key":"a","topic_msg":{"n":3},"meta":{"who":"me"},"offset":3}`,
	`{"optype":4,"topic_key":"ab","topic_msg":4}`,
	`{"optype":4,"topic_key":"a","topic_msg":5,"offset":5}`,
	`{"optype":4,"topic_key":"a","topic_msg":6,"topic_key":"other"}`,
	`{"optype":4,"topic_key":"a","topic_msg":7,"sub":"s","delivery":9,"offset":7}`,
	`{"optype":4,"topic_key":"a","topic_msg":`,
	`{"optype":4,"topic_key":"a","topic_msg":8} `,
	`{"optype":4,"topic_key":"","topic_msg":9}`,
	`{"optype":4,"topic_key":"","topic_msg":10}`,
	`{"optype":4,"topic_key":"\u0061","topic_msg":11}`,
	`{"optype":4,"topic_key":"\u0061","topic_msg":12}`,
	`{"optype":4,"topic_key":"` + strings.Repeat("l", 300) + `","topic_msg":13}`,
	`{"optype":4,"topic_key":"` + strings.Repeat("l", 300) + `","topic_msg":14}`,
	`{"optype":1,"topic_key":"a","topic_msg":null}`,
	`{"optype":4,"topic_key":"a","topic_msg":15}`,
}

func TestPushesReadWithMemoryAreThoseReadWithout(t *testing.T) {
	var memory Pushes
	with, without := New(Config{Pushes: &memory}), New(Config{})
	for range 3 {
		for _, body := range pushBodies {
			want, wrong := without.Unmarshal(abstract.ReqTopic, "id", []byte(body), []byte("frame"))
			got, err := with.Unmarshal(abstract.ReqTopic, "id", []byte(body), []byte("frame"))
			require.Equal(t, wrong, err, body)
			require.Equal(t, want, got, body)
			memory.Reuse([]abstract.BaseMessage{got, &GapNotice{}})
		}
	}
}

func TestReusedPushHasNothingOfTheOneBefore(t *testing.T) {
	var memory Pushes
	codec := New(Config{Pushes: &memory})
	full, err := codec.Unmarshal(abstract.ReqTopic, "first", []byte(pushBodies[2]), []byte("frame"))
	require.NoError(t, err)
	text := full.(*TopicRequest).Message
	memory.Reuse([]abstract.BaseMessage{full})
	next, err := codec.Unmarshal(abstract.ReqTopic, "next", []byte(`{"optype":4,"topic_key":"b","topic_msg":null}`), nil)
	require.NoError(t, err)
	assert.Same(t, full, next, "the memory is used again")
	assert.Equal(t, &TopicRequest{Header: ID("next"), Op: abstract.TopicPublish, Topic: "b", Message: Raw("null")}, next)
	assert.Equal(t, `{"n":3}`, string(text), "what it referred to stays")
}

func TestPushesOfOneTopicShareItsName(t *testing.T) {
	codec := New(Config{Pushes: new(Pushes)})
	var topics []string
	var bodies [][]byte
	for range 4 {
		body := []byte(pushBodies[0])
		m, err := codec.Unmarshal(abstract.ReqTopic, "id", body, nil)
		require.NoError(t, err)
		topics, bodies = append(topics, m.(*TopicRequest).Topic), append(bodies, body)
	}
	assert.Same(t, unsafe.StringData(topics[2]), unsafe.StringData(topics[3]))
	clear(bodies[2])
	assert.Equal(t, "a", topics[3], "it keeps no body")
}

func TestPushesKeepABoundedNumber(t *testing.T) {
	var memory Pushes
	var batch []abstract.BaseMessage
	for range 3 * pushesKept {
		batch = append(batch, &TopicRequest{})
	}
	memory.Reuse(batch)
	assert.Len(t, memory.free, pushesKept)
	memory.Reuse(batch)
	assert.Len(t, memory.free, pushesKept)
}
