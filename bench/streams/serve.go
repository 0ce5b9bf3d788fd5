package streams

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/bench/internal/harness"
	"trefoil/server"
)

// The methods that are served.
const (
	methodFlow = "flow" // sends, as its parameters say, from the first message on that it receives
	methodHang = "hang" // does nothing until its caller gives up
)

// flowArgs are the parameters of methodFlow.
type flowArgs struct {
	Every time.Duration `json:"every"` // a message; 0: as fast as it can
}

// hangArgs are the parameters of methodHang.
type hangArgs struct {
	N int `json:"n"` // of the caller's
}

// ends are the moments at which the contexts of methodHang ended, by its number.
type ends struct {
	mu sync.Mutex
	at map[int]int64 // of harness.Monotonic
}

// text is what a message is.
var text = func() json.RawMessage {
	b := make([]byte, 128)
	for i := range b {
		b[i] = 'x'
	}
	b[0], b[len(b)-1] = '"', '"'
	return b
}()

// flow serves methodFlow.
func flow(params json.RawMessage, s abstract.Stream) error {
	var in flowArgs
	if err := json.Unmarshal(params, &in); err != nil {
		return err
	}
	if err := s.Receive(nil); err != nil {
		return err
	}
	if in.Every > 0 {
		return paced(s, in.Every)
	}
	for {
		if err := s.Send(text); err != nil {
			return err
		}
	}
}

// paced sends at fixed times, and makes up for those that it has missed. It begins at any
// moment of the first interval, as others do.
func paced(s abstract.Stream, every time.Duration) error {
	due := time.Now().Add(rand.N(every))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.Context().Done():
			return s.Context().Err()
		}
		if err := s.Send(text); err != nil {
			return err
		}
		due = due.Add(every)
		timer.Reset(time.Until(due))
	}
}

// hang serves methodHang.
func (e *ends) hang(params json.RawMessage, s abstract.Stream) error {
	var in hangArgs
	if err := json.Unmarshal(params, &in); err != nil {
		return err
	}
	<-s.Context().Done()
	now := harness.Monotonic()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at[in.N] = now
	return s.Context().Err()
}

// take answers the command that asks for them, and forgets them.
func (e *ends) take(context.Context, json.RawMessage) (any, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.at
	e.at = make(map[int]int64)
	return at, nil
}

// serve starts the server.
func serve(context.Context, json.RawMessage) (*harness.Served, error) {
	broker := server.NewBroker("127.0.0.1:0", server.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	e := &ends{at: make(map[int]int64)}
	for method, handler := range map[string]server.StreamHandler{methodFlow: flow, methodHang: e.hang} {
		if err := broker.HandleStream(server.Description{Method: method, Result: server.KindAny}, handler); err != nil {
			return nil, err
		}
	}
	if err := broker.Listen(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = broker.Serve()
		close(ended)
	}()
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = broker.Shutdown(ctx)
		<-ended
	}
	return &harness.Served{Addr: broker.Addr().String(), Stop: stop, Commands: map[string]harness.CommandFunc{cmdEnds: e.take}}, nil
}

// cmdEnds asks the server when handlers heard that their callers had given up.
const cmdEnds = "ends"
