package client

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func TestPlacesAreInTheIncarnationThatThePushesSay(t *testing.T) {
	push := func(epoch string, offset uint64) abstract.BaseMessage {
		m := &message.TopicRequest{Topic: "t", Offset: offset}
		if epoch != "" {
			m.More = &message.TopicExtras{Sub: "1", Epoch: epoch}
		}
		return m
	}
	for name, tt := range map[string]struct {
		pushes []abstract.BaseMessage
		epoch  string
	}{
		"the first message says it":               {[]abstract.BaseMessage{push("b", 1), push("", 2)}, "b"},
		"a later one does":                        {[]abstract.BaseMessage{push("b", 9)}, "b"},
		"the last one of two incarnations does":   {[]abstract.BaseMessage{push("a", 7), push("b", 9)}, "b"},
		"none does, and it goes on":               {[]abstract.BaseMessage{push("", 6)}, "a"},
		"none does, and it cannot be the old one": {[]abstract.BaseMessage{push("", 4)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := &places{known: map[string]*position{"t": {"a", 5}}}
			p.came(tt.pushes)
			assert.Equal(t, position{tt.epoch, tt.pushes[len(tt.pushes)-1].(*message.TopicRequest).Offset}, *p.known["t"])
		})
	}
}
