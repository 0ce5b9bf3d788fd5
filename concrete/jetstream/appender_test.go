package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"trefoil/abstract"
)

// appenderDir names the directory that a child of the kill test appends to.
const appenderDir = "TREFOIL_JETSTREAM_APPENDER"

const (
	appendTopics = 2
	appenders    = 20 // for each topic: enough for batches
)

// appendUntilKilled appends until it is killed, and says what was acknowledged.
func appendUntilKilled(dir string) int {
	s, err := Open(context.Background(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for topic := range appendTopics {
		l, err := s.Open(context.Background(), fmt.Sprint("t", topic), "1", abstract.LogConfig{})
		if err != nil {
			fmt.Println("error", err)
			return 1
		}
		for a := range appenders {
			wg.Go(func() {
				for i := 1; ; i++ {
					text := fmt.Sprintf("%d/%d/%d", os.Getpid(), a, i)
					offsets, err := l.Append(context.Background(), []abstract.LogEntry{{Data: []byte(text)}})
					out.Lock()
					if err != nil {
						offsets = make([]abstract.LogOffset, 1)
					}
					fmt.Println(topic, text, offsets[0].Offset, err) // not buffered
					out.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return 0
}
