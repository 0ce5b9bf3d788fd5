package server

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/concrete/message"
)

func TestPlacesThatNoAnswerHasRoomForTakeNoMemory(t *testing.T) {
	var list []message.TopicPlace
	for range 3 * message.MaxTopicPlaces {
		list = noted(list, message.TopicPlace{Topic: "t", Offset: 1})
	}
	assert.Len(t, list, message.MaxTopicPlaces+1, "one too many, so that the answer says that there are more")
}
