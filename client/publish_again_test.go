package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// A message whose answer is lost is published again where that cannot double it, and
// nowhere else.
func TestAMessageIsPublishedAgainOnlyWhereItIsTakenOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		dedup   time.Duration
		id      string
		restart bool
		again   bool
	}{
		"its id is looked at":           {time.Hour, "one", false, true},
		"its id is not looked at":       {0, "one", false, false},
		"it has no id":                  {time.Hour, "", false, false},
		"its id is forgotten":           {time.Second, "one", false, false},
		"the broker is another process": {time.Hour, "one", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				broker := w.broker()
				c, machine := w.topicsOn(client.WithTimeout(10 * time.Minute))
				require.NoError(t, c.CreateWith(w.Context(), "t", abstract.TopicSettings{Dedup: tt.dedup}))
				in, _ := w.subscribe(w.topics(), "t")
				machine.Stall(true) // the message gets there, and its answer does not come
				type outcome struct {
					receipt client.Receipt
					err     error
				}
				done := make(chan outcome, 1)
				go func() {
					got, err := c.PublishWith(w.Context(), "t", 1, client.Publishing{ID: tt.id})
					done <- outcome{got, err}
				}()
				synctest.Wait()
				assert.Equal(t, numbered("t", 1, 1), in.all())
				if tt.restart {
					broker.stop()
					w.broker()
				}
				time.Sleep(2 * time.Minute) // the client gives the connection up
				machine.Stall(false)
				got := <-done
				if !tt.again {
					assert.ErrorIs(t, got.err, abstract.ErrDisconnected)
					assert.Equal(t, abstract.SentUnknown, sentOf(t, got.err))
				} else {
					require.NoError(t, got.err)
					assert.Equal(t, client.Receipt{Offset: 1, Duplicate: true}, got.receipt)
				}
				assert.Empty(t, in.all(), "nobody gets it twice")
			})
		})
	}
}
