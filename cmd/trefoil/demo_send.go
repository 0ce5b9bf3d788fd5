package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"trefoil/client"
)

// demoModes are the three ways to call, in the order in which they take turns.
// The callback comes first: when it returns, the request has been sent, which
// makes sure that even a single call is in flight before its provider is killed.
var demoModes = [...]string{"callback", "future", "sync"}

// sender sends the survey's files to the providers and adds up their answers.
type sender struct {
	calls   *client.RpcClient
	tracker *tracker
	timeout time.Duration
	window  *window
	fail    func(error) // ends the demo
	running sync.WaitGroup
	next    int // of demoModes; one goroutine sends

	mu        sync.Mutex
	sum       totals // of what was answered
	modes     map[string]int
	repeated  int       // answers that took more than one attempt
	lastMoved time.Time // when the last of them came
}

func newSender(calls *client.RpcClient, t *tracker, timeout time.Duration, fail func(error)) *sender {
	return &sender{calls: calls, tracker: t, timeout: timeout, window: newWindow(), fail: fail, modes: make(map[string]int)}
}

// sendAll sends every file, and returns when all calls have ended. before is
// called before each chunk, with how much has been sent.
func (s *sender) sendAll(ctx context.Context, v *survey, before func(sent totals, next int) error) error {
	defer s.running.Wait()
	defer s.tracker.finish()
	var sent totals
	for _, src := range v.files {
		if err := s.sendFile(ctx, v, src, &sent, before); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) sendFile(ctx context.Context, v *survey, src source, sent *totals, before func(totals, int) error) error {
	f, err := v.open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	for c, err := range chunks(f, src.size, maxChunk) {
		if err == nil {
			err = before(*sent, len(c.text))
		}
		if err == nil {
			err = s.send(ctx, src.path, c)
		}
		if err != nil {
			return err
		}
		sent.Bytes += int64(len(c.text))
	}
	sent.Files++
	return nil
}

// send starts one call as soon as there is room for it.
func (s *sender) send(ctx context.Context, path string, c chunk) error {
	if err := s.window.enter(ctx, len(c.text)); err != nil {
		return err
	}
	mode := demoModes[s.next%len(demoModes)]
	s.next++
	size := len(c.text)
	s.running.Add(1)
	end := func(r countResult, attempts int, err error) {
		defer s.running.Done()
		defer s.window.leave(size)
		s.ended(mode, c.first, c.joined, r, attempts, err)
	}
	s.tracker.post(func() { s.start(ctx, mode, countParams{Path: path, Text: c.text}, end) })
	return nil
}

// start starts a call in one of the three modes; end is called with its outcome.
func (s *sender) start(ctx context.Context, mode string, params countParams, end func(countResult, int, error)) {
	opts := []client.CallOption{client.Idempotent(), client.Timeout(s.timeout)}
	take := func(reply client.Reply, err error) {
		var r countResult
		if err == nil {
			err = reply.Decode(&r)
		}
		end(r, reply.Attempts, err)
	}
	switch mode {
	case "callback":
		s.calls.CallFunc(ctx, demoMethod, params, take, opts...)
	case "future":
		future := s.calls.CallFuture(ctx, demoMethod, params, opts...)
		go func() { take(future.Reply(ctx)) }()
	default:
		go func() {
			var r countResult
			err := s.calls.Call(ctx, demoMethod, params, &r, opts...)
			end(r, 0, err) // it does not say how many attempts it took
		}()
	}
}

// ended takes the outcome of a call.
func (s *sender) ended(mode string, first, joined bool, r countResult, attempts int, err error) {
	if err != nil {
		s.fail(fmt.Errorf("a call in %s mode failed: %w", mode, err))
		return
	}
	s.tracker.answer(r.By)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.modes[mode]++
	part := totals{Lines: r.Lines, Words: r.Words, Bytes: r.Bytes}
	if first {
		part.Files = 1
	}
	if joined {
		part.Words--
	}
	s.sum.add(part)
	if attempts > 1 {
		s.repeated++
		s.lastMoved = time.Now()
	}
}

// counted is what was answered so far.
func (s *sender) counted() totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}
