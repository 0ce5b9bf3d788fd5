package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// studio is a broker inside the process, in virtual time: nothing is late there, but by
// what the program itself does.
type studio struct {
	*testing.T
	net *mem.Network
}

func inStudio(t *testing.T, test func(s *studio)) {
	synctest.Test(t, func(t *testing.T) {
		s := &studio{t, mem.NewNetwork()}
		broker := server.NewBroker("broker", server.WithTransport(s.net.Server), server.WithLogger(silent))
		require.NoError(t, broker.Listen())
		ended := make(chan error, 1)
		go func() { ended <- broker.Serve() }()
		defer func() {
			require.NoError(t, broker.Shutdown(context.Background()))
			require.NoError(t, <-ended)
		}()
		test(s)
	})
}

func (s *studio) topics() (*client.TopicClient, *client.Conn) {
	s.Helper()
	conn, err := client.Dial(context.Background(), "broker", client.WithTransport(s.net.Client), client.WithLogger(silent))
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close() })
	return client.NewTopicClient(conn), conn
}

// heard is a message, and when it came.
type heard struct {
	text string
	meta abstract.Metadata
	at   time.Duration
}

// listen notes what a topic gets from now on; stop ends that.
func (s *studio) listen(topics *client.TopicClient, topic string) (got *[]heard, stop func()) {
	s.Helper()
	got = new([]heard)
	begun := time.Now()
	sub, err := topics.Subscribe(context.Background(), topic, func(m client.Message) {
		*got = append(*got, heard{string(m.Data), m.Meta, time.Since(begun)})
	})
	require.NoError(s, err)
	return got, func() {
		synctest.Wait()
		require.NoError(s, sub.Cancel(context.Background()))
	}
}

// record records a topic while play runs.
func (s *studio) record(topics *client.TopicClient, topic, path string, play func()) {
	s.Helper()
	f, err := os.Create(path)
	require.NoError(s, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	r := &recorder{topics: topics, ready: func() { close(ready) }, progress: func(int, int64) {}}
	go func() {
		_, err := r.run(ctx, topic, func() (io.WriteCloser, error) { return f, nil }, nil)
		ended <- err
	}()
	<-ready
	play()
	synctest.Wait()
	cancel()
	require.NoError(s, <-ended)
}

// replay replays a recording.
func (s *studio) replay(topics *client.TopicClient, conn *client.Conn, path string, speed float64) *replayOutput {
	s.Helper()
	f, err := os.Open(path)
	require.NoError(s, err)
	defer f.Close()
	file, err := openRecording(f)
	require.NoError(s, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := &replayer{file: file, speed: speed, bar: newBar(io.Discard, ""), pace: &pacer{begun: time.Now()}}
	r.pub = newPublisher(cancel, r.took)
	r.pub.topics, r.pub.up = topics, conn.Connected
	require.NoError(s, r.run(ctx, ctx))
	return r.output(path)
}

// TestReplayKeepsOrderHeadersAndSpacing records messages that come at uneven intervals,
// and replays them at several speeds: each comes when it is due, to the microsecond of the
// recording.
func TestReplayKeepsOrderHeadersAndSpacing(t *testing.T) {
	for name, speed := range map[string]float64{"as it was": 1, "twice as fast": 2, "ten times as fast": 10, "half as fast": 0.5} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "recording")
			inStudio(t, func(s *studio) {
				topics, conn := s.topics()
				ctx := context.Background()
				require.NoError(t, topics.Create(ctx, "t"))
				original, stop := s.listen(topics, "t")
				other, _ := s.topics()
				s.record(other, "t", path, func() {
					for i := range 200 {
						time.Sleep(time.Duration(i*i%97) * 137 * time.Microsecond)
						message := abstract.WithMetadata(ctx, abstract.Metadata{"number": fmt.Sprint(i)})
						require.NoError(t, topics.Publish(message, "t", map[string]int{"n": i}))
					}
				})
				stop()
				again, stop := s.listen(topics, "t")
				out := s.replay(topics, conn, path, speed)
				stop()
				require.Len(t, *original, 200)
				require.Len(t, *again, 200)
				for i, m := range *again {
					was := (*original)[i]
					require.Equal(t, was.text, m.text)
					require.Equal(t, was.meta, m.meta)
					due := time.Duration(float64(was.at-(*original)[0].at) / speed)
					assert.InDelta(t, due, m.at-(*again)[0].at, float64(2*time.Microsecond), "message %d", i)
				}
				assert.Equal(t, 200, out.Messages)
				assert.Less(t, out.OffBy, 0.1, "per cent")
				assert.Less(t, out.LateMaxMs, 0.01)
			})
		})
	}
}

func TestReplayAtSpeedZeroDoesNotWait(t *testing.T) {
	path, _ := recorded(t, recordedLine{Topic: "t", Data: []byte("1")}, recordedLine{AtUs: time.Hour.Microseconds(), Topic: "t", Data: []byte("2")})
	inStudio(t, func(s *studio) {
		topics, conn := s.topics()
		require.NoError(t, topics.Create(context.Background(), "t"))
		got, stop := s.listen(topics, "t")
		begun := time.Now()
		out := s.replay(topics, conn, path, 0)
		stop()
		assert.Len(t, *got, 2)
		assert.Zero(t, time.Since(begun), "virtual time has stood still")
		assert.InDelta(t, 3600, out.RecordedS, 0.001)
		assert.NotContains(t, out.String(), "late")
	})
}

// TestRecordingOfWhatIsKeptHasItsTimes records what a topic keeps: the intervals are those
// at which it was published.
func TestRecordingOfWhatIsKeptHasItsTimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recording")
	inStudio(t, func(s *studio) {
		topics, _ := s.topics()
		ctx := context.Background()
		require.NoError(t, topics.CreateWith(ctx, "t", abstract.TopicSettings{History: abstract.History{Count: 10}}))
		for i := range 3 {
			_, err := topics.PublishWith(ctx, "t", i, client.Publishing{ID: fmt.Sprint("id-", i)})
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		f, err := os.Create(path)
		require.NoError(t, err)
		r := &recorder{topics: topics, most: 3, ready: func() {}, progress: func(int, int64) {}}
		_, err = r.run(ctx, "t", func() (io.WriteCloser, error) { return f, nil }, []client.SubscribeOption{client.FromAll()})
		require.NoError(t, err)
	})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	lines, err := replayed(string(text))
	require.NoError(t, err)
	require.Len(t, lines, 3)
	for i, l := range lines {
		assert.Equal(t, int64(i)*1e6, l.AtUs)
		assert.Equal(t, fmt.Sprint("id-", i), l.ID)
		assert.Equal(t, uint64(i+1), l.Offset)
	}
}

// TestRecordingNotesGaps records a topic across a loss of the connection.
func TestRecordingNotesGaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recording")
	inStudio(t, func(s *studio) {
		topics, conn := s.topics()
		ctx := context.Background()
		require.NoError(t, topics.Create(ctx, "t"))
		machine := s.net.Machine()
		far, err := client.Dial(ctx, "broker", client.WithTransport(machine.Client), client.WithLogger(silent))
		require.NoError(t, err)
		defer far.Close()
		s.record(client.NewTopicClient(far), "t", path, func() {
			require.NoError(t, topics.Publish(ctx, "t", 1))
			synctest.Wait()
			machine.Refuse(true)
			machine.Cut()
			synctest.Wait()
			require.NoError(t, topics.Publish(ctx, "t", 2))
			machine.Refuse(false)
			time.Sleep(time.Minute)
			require.NoError(t, topics.Publish(ctx, "t", 3))
		})
		out := s.replay(topics, conn, path, 0)
		assert.Equal(t, 1, out.Gaps)
		assert.Equal(t, 2, out.Messages)
		assert.Contains(t, out.String(), "with 1 gap where messages are missing")
	})
}

// TestPublisherKeepsItsOrderWhenTheConnectionIsLost cuts the connection while many
// messages are on their way: what arrives is a beginning of what was sent, without holes.
func TestPublisherKeepsItsOrderWhenTheConnectionIsLost(t *testing.T) {
	for _, after := range []int{1, 50, 255, 256, 300, 900} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			inStudio(t, func(s *studio) {
				topics, _ := s.topics()
				ctx := context.Background()
				require.NoError(t, topics.Create(ctx, "t"))
				got, stop := s.listen(topics, "t")
				machine := s.net.Machine()
				going, cancel := context.WithCancel(ctx)
				defer cancel()
				taken := 0
				p := newPublisher(cancel, func(outgoing, client.Receipt) { taken++ })
				conn, err := client.Dial(ctx, "broker", client.WithTransport(machine.Client), client.WithLogger(silent), client.OnDisconnected(func(error) { p.lostConnection() }))
				require.NoError(t, err)
				defer conn.Close()
				p.topics, p.up = client.NewTopicClient(conn), conn.Connected
				for n := 1; n <= 1000 && going.Err() == nil; n++ {
					if n == after {
						machine.Cut()
					}
					if !p.send(ctx, outgoing{place: n, topic: "t", data: fmt.Append(nil, n)}) {
						break
					}
				}
				whole := p.settle()
				stop()
				for i, m := range *got {
					require.Equal(t, fmt.Sprint(i+1), m.text, "no hole, and no other order")
				}
				failed, _ := p.failure()
				if whole {
					assert.Nil(t, failed)
					assert.Len(t, *got, 1000)
					return
				}
				assert.LessOrEqual(t, taken, len(*got), "what was said to be published was")
				assert.LessOrEqual(t, failed.place, len(*got)+1)
			})
		})
	}
}
