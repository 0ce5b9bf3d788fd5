package server

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func TestConsumersOfATopicAreBounded(t *testing.T) {
	f := &feed{name: "t", consumers: make(map[string]struct{})}
	for i := range maxConsumers {
		require.NoError(t, f.admitConsumer(t.Context(), strconv.Itoa(i)))
		f.consumers[strconv.Itoa(i)] = struct{}{}
	}
	assert.ErrorIs(t, f.admitConsumer(t.Context(), "one more"), &abstract.Error{Code: abstract.Overloaded})
	assert.NoError(t, f.admitConsumer(t.Context(), "7"), "one that is there")
}

func TestFailedMessagesRestLongerEachTime(t *testing.T) {
	for times, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 7: time.Minute, 1000: time.Minute} {
		assert.Equal(t, want, failedRest(times), times)
	}
}

func TestDeadLettersHaveOneIDThatFits(t *testing.T) {
	k := &consumer{consumerKey: consumerKey{&feed{epoch: "e"}, "k"}}
	assert.Equal(t, "dead:e:7:k", letterID(k, 7))
	k.name = strings.Repeat("n", message.MaxTopicID)
	long := letterID(k, 7)
	assert.LessOrEqual(t, len(long), message.MaxTopicID)
	assert.Equal(t, long, letterID(k, 7))
	assert.NotEqual(t, long, letterID(k, 8))
}

func TestDeadLettersAreNotBuriedTwice(t *testing.T) {
	fresh := &message.TopicRequest{}
	dead := &message.TopicRequest{Meta: abstract.Metadata{metaDeadTopic: "t"}}
	cases := map[string]struct {
		topic, setting string
		m              *message.TopicRequest
		want           string
	}{
		"by its name":       {"t", "", fresh, "t.dead"},
		"by its settings":   {"t", "graves", fresh, "graves"},
		"a letter":          {"graves", "", dead, ""},
		"its own":           {"t", "t", fresh, ""},
		"of dead letters":   {"t.dead", "", fresh, ""},
		"of such, as it is": {"t.dead", "graves", fresh, "graves"},
	}
	for name, tc := range cases {
		got, err := deadTopic(&feed{name: tc.topic}, &abstract.TopicSettings{DeadLetter: tc.setting}, tc.m)
		assert.Equal(t, tc.want, got, name)
		assert.Equal(t, tc.want == "", err != nil, name)
	}
}

func TestALetterThatIsTooLongLeavesOutThePublishersMetadata(t *testing.T) {
	s := topicServer(t)
	meta := make(abstract.Metadata)
	for i := range abstract.MaxMetadataLen {
		meta["k"+strconv.Itoa(i)] = "v"
	}
	known := abstract.Metadata{metaDeadTopic: "t"}
	letter, err := s.letter("t.dead", &message.TopicRequest{Header: message.ID("1"), Message: message.Raw(`5`), Meta: meta}, known)
	require.NoError(t, err)
	assert.Equal(t, known, letter.Meta)
	letter, err = s.letter("t.dead", &message.TopicRequest{Header: message.ID("1"), Message: message.Raw(`5`), Meta: abstract.Metadata{"a": "b"}}, known)
	require.NoError(t, err)
	assert.Equal(t, abstract.Metadata{metaDeadTopic: "t", "a": "b"}, letter.Meta)
}
