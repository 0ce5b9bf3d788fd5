package server_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/server"
)

// A publisher's frame is the push: it must not be able to say to subscribers what only the
// broker says.
func TestAPublisherCannotSpeakForTheBroker(t *testing.T) {
	srv := serve(t, server.NewTopicServer("127.0.0.1:0", server.WithLogger(quiet), server.WithPing(time.Minute, 5)))
	modern, legacy := dialRaw(t, srv.Addr()).hello(), dialRaw(t, srv.Addr())
	modern.send(frame{2, "c", `{"optype":0,"topic_key":"t"}`}, frame{2, "s", `{"optype":2,"topic_key":"t"}`})
	for range 2 {
		assert.Equal(t, 0, modern.expect().rcode())
	}
	for _, member := range []string{`"sub":"1"`, `"time_ms":5`, `"delivery":7`, `"delivered":3`} {
		modern.send(frame{2, "p", `{"optype":4,"topic_key":"t","topic_msg":"x",` + member + `}`})
		assert.Equal(t, 5, modern.expect().rcode(), member)
		modern.send(frame{2, "n", `{"optype":20,"topic_key":"t","topic_msg":"x",` + member + `}`})
		modern.silent()

		// An existing program does not know them: its publish is taken, and they are not passed on.
		legacy.send(frame{2, "l1", `{"optype":4,"topic_key":"t","topic_msg":"x",` + member + `}`}, frame{2, "l2", `{"optype":4,"topic_key":"t","topic_msg":"y"}`})
		for _, want := range []string{"x", "y"} {
			assert.Equal(t, 0, legacy.expect().rcode(), member)
			push := modern.expect()
			assert.Equal(t, want, push.field("topic_msg"))
			for _, name := range []string{"sub", "time_ms", "delivery", "delivered"} {
				assert.Nil(t, push.field(name), "%s in %s", name, push.body)
			}
		}
	}
}

func TestExistingProgramsAreNotServedWhatTheyDoNotKnow(t *testing.T) {
	srv := serve(t, server.NewTopicServer("127.0.0.1:0", server.WithLogger(quiet)))
	legacy := dialRaw(t, srv.Addr())
	legacy.send(frame{2, "c", `{"optype":0,"topic_key":"t","settings":{"schema":5}}`})
	assert.Equal(t, 0, legacy.expect().rcode(), "what it says beside is its own affair")
	for _, op := range []string{"16", "17", "18", "19", "20", "21", "23"} {
		legacy.send(frame{2, "o" + op, `{"optype":` + op + `,"topic_key":"t","topic_msg":"x"}`})
		got := legacy.expect()
		assert.Equal(t, "o"+op, got.id, "everything is answered")
		assert.Equal(t, 7, got.rcode(), op)
		assert.Nil(t, got.field("info"))
	}
}
