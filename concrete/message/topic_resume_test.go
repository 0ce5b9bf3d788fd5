package message_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func TestPlacesOfASubscriptionAreBounded(t *testing.T) {
	many := func(n int, place string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(place+",", n), ",") + "]"
	}
	for name, c := range map[string]struct {
		resume string
		says   string
	}{
		"too many":          {`{"places":` + many(message.MaxTopicPlaces+1, `{"topic":"a"}`) + `}`, "1024 objects"},
		"too long":          {`{"pad":"` + strings.Repeat("x", message.MaxResumeBytes) + `"}`, "262144 bytes"},
		"no object":         {`[]`, "must be an object"},
		"places no array":   {`{"places":{}}`, "an array"},
		"a place no object": {`{"places":["a"]}`, "objects"},
		"a place nowhere":   {`{"places":[{"offset":1}]}`, `"topic"`},
		"a long name":       {`{"places":[{"topic":"` + strings.Repeat("x", 1025) + `"}]}`, `"topic" is longer`},
		"a long epoch":      {`{"places":[{"topic":"a","epoch":"` + strings.Repeat("x", 257) + `"}]}`, `"epoch" is longer`},
		"a long mark":       {`{"mark":"` + strings.Repeat("x", 257) + `"}`, `"mark" is longer`},
		"a place before 0":  {`{"places":[{"topic":"a","offset":-1}]}`, `"offset"`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := codec.Unmarshal(abstract.ReqTopic, "id", []byte(`{"optype":2,"topic_key":"a.*","sub":"1","resume":`+c.resume+`}`), nil)
			require.NoError(t, err)
			assert.ErrorContains(t, m.Check(), c.says)
		})
	}
	m, err := codec.Unmarshal(abstract.ReqTopic, "id", []byte(`{"optype":2,"topic_key":"a.*","sub":"1","resume":{"places":`+many(message.MaxTopicPlaces, `{"topic":"a"}`)+`}}`), nil)
	require.NoError(t, err)
	require.NoError(t, m.Check())
	assert.Len(t, m.(*message.TopicRequest).More.Resume.Places, message.MaxTopicPlaces)
}

func TestThePlacesOfASubscriptionKnowTheirSize(t *testing.T) {
	places := []message.TopicPlace{{Topic: "a"}, {Topic: "q\"\x01é", Epoch: "e", Offset: 1 << 40}, {Topic: strings.Repeat("b", 500), Lost: true}}
	body := func(places ...message.TopicPlace) int {
		text, err := codec.AppendBody(nil, &message.TopicResponse{Resume: &message.TopicResume{Places: places}})
		require.NoError(t, err)
		return len(text)
	}
	size := 0
	for i := range places {
		size += places[i].Size()
	}
	assert.Equal(t, body()+size-1, body(places...), "a comma less than places")
}
