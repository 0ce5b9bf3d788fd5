package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

func TestDeleteSaysWhatIsWrong(t *testing.T) {
	b := broker(t, server.WithLogger(quiet))
	peer := dialRaw(t, b.Addr()).hello()
	peer.send(frame{2, "1", `{"optype":0,"topic_key":"plain"}`}, frame{2, "2", `{"optype":0,"topic_key":"t","settings":{"history":{"count":9}}}`})
	require.Equal(t, 0, peer.expect().rcode())
	require.Equal(t, 0, peer.expect().rcode())
	for i := range 3 {
		peer.send(frame{2, "p", fmt.Sprintf(`{"optype":4,"topic_key":"t","topic_msg":%d}`, i)})
		require.Equal(t, 0, peer.expect().rcode())
	}
	many := strings.Repeat("1,", 4096) + "1"
	for _, tt := range []struct {
		name, body string
		code       abstract.RCode
	}{
		{"nothing", `{"optype":23,"topic_key":"t"}`, abstract.InvalidParams},
		{"an empty list", `{"optype":23,"topic_key":"t","offsets":[]}`, abstract.InvalidParams},
		{"no numbers", `{"optype":23,"topic_key":"t","offsets":["1"]}`, abstract.InvalidMessage},
		{"no list", `{"optype":23,"topic_key":"t","offsets":1}`, abstract.InvalidMessage},
		{"too many", `{"optype":23,"topic_key":"t","offsets":[` + many + `]}`, abstract.TooLarge},
		{"as many as may be", `{"optype":23,"topic_key":"t","offsets":[` + many[2:] + `]}`, abstract.OK},
		{"no topic", `{"optype":23,"topic_key":"nowhere","offsets":[1]}`, abstract.TopicNotFound},
		{"nothing is kept", `{"optype":23,"topic_key":"plain","offsets":[1]}`, abstract.InvalidOp},
		{"another incarnation", `{"optype":23,"topic_key":"t","offsets":[2],"epoch":"x"}`, abstract.Conflict},
		{"what is not there", `{"optype":23,"topic_key":"t","offsets":[0,1,99]}`, abstract.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peer.send(frame{2, "d", tt.body})
			assert.Equal(t, int(tt.code), peer.expect().rcode())
		})
	}
	peer.send(frame{2, "r", `{"optype":21,"topic_key":"t","from":1}`})
	got := peer.expect()
	assert.NotContains(t, got.body, `"topic_msg":0`)
	assert.Contains(t, got.body, `"topic_msg":1`)
	assert.Contains(t, got.body, `"topic_msg":2`)
}
