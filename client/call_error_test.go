package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// TestErrorOfEveryEnd goes through all ways in which a call can fail: its error always
// has a code, words, the provider if one was asked, the attempts, and whether the
// request was sent.
func TestErrorOfEveryEnd(t *testing.T) {
	const (
		first = "host-1:9000"
		none  = ""
	)
	plain := func(c *client.RpcClient, opts ...client.CallOption) error {
		return c.Call(ctx, "svc.do", nil, nil, append([]client.CallOption{client.Timeout(time.Second)}, opts...)...)
	}
	type end struct {
		serve    func(*member, abstract.BaseConnection, *message.RpcRequest)
		arrange  func(f *fleet, m *member)
		opts     []client.Option
		call     func(f *fleet, c *client.RpcClient) error
		code     abstract.RCode
		instance string
		attempts int
		sent     abstract.Sent
		details  string
	}
	tests := map[string]end{
		"refused with details":         {serve: refuses(abstract.Denied, `{"need":"more"}`), code: abstract.Denied, instance: first, attempts: 1, sent: abstract.SentYes, details: `{"need":"more"}`},
		"an internal error":            {serve: refuses(abstract.Internal, ""), code: abstract.Internal, instance: first, attempts: 1, sent: abstract.SentYes},
		"overloaded everywhere":        {serve: refuses(abstract.Overloaded, `{"retry_after_ms":5}`), code: abstract.Overloaded, instance: first, attempts: 1, sent: abstract.SentYes, details: `{"retry_after_ms":5}`},
		"the deadline passes":          {serve: silent, code: abstract.Timeout, instance: first, attempts: 1, sent: abstract.SentUnknown},
		"the connection is lost":       {serve: hangsUp, code: abstract.Disconnected, instance: first, attempts: 1, sent: abstract.SentUnknown},
		"lost, and no further attempt": {serve: hangsUp, call: func(_ *fleet, c *client.RpcClient) error { return plain(c, client.Idempotent(), client.NoRetry()) }, code: abstract.Disconnected, instance: first, attempts: 1, sent: abstract.SentUnknown},
		"lost, and then not to be had": {serve: func(m *member, bc abstract.BaseConnection, _ *message.RpcRequest) { go m.leave() }, call: func(_ *fleet, c *client.RpcClient) error { return plain(c, client.Idempotent(), client.Retry(2)) }, code: abstract.Unavailable, instance: first, attempts: 2, sent: abstract.SentUnknown},
		"the answer is of another type": {serve: func(_ *member, bc abstract.BaseConnection, req *message.RpcRequest) {
			_ = bc.Send(&message.TopicResponse{Header: message.ID(req.ID())})
		}, code: abstract.WrongMessageType, instance: first, attempts: 1, sent: abstract.SentYes},
		"nobody provides it":        {arrange: func(f *fleet, _ *member) { f.say() }, code: abstract.ServiceNotFound, instance: none, attempts: 0, sent: abstract.SentNo},
		"nobody can be reached":     {arrange: func(_ *fleet, m *member) { m.leave() }, call: func(_ *fleet, c *client.RpcClient) error { return plain(c, client.Retry(3)) }, code: abstract.Unavailable, instance: first, attempts: 3, sent: abstract.SentNo},
		"another instance is there": {arrange: func(f *fleet, m *member) { f.say(m.as(func(p *abstract.Provider) { p.Instance = "b" })) }, call: func(_ *fleet, c *client.RpcClient) error { return plain(c, client.NoRetry()) }, code: abstract.WrongInstance, instance: first, attempts: 1, sent: abstract.SentNo},
		"everybody drains":          {arrange: func(f *fleet, m *member) { f.say(m.as(func(p *abstract.Provider) { p.State = abstract.Retiring })) }, code: abstract.Draining, instance: none, attempts: 0, sent: abstract.SentNo},
		"the context was over": {call: func(_ *fleet, c *client.RpcClient) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return c.Call(ctx, "svc.do", nil, nil)
		}, code: abstract.Cancelled, instance: none, attempts: 0, sent: abstract.SentNo},
		"cancelled in flight": {serve: silent, call: func(_ *fleet, c *client.RpcClient) error {
			call := c.CallFuture(ctx, "svc.do", nil)
			synctest.Wait()
			call.Cancel()
			return call.Wait(ctx, nil)
		}, code: abstract.Cancelled, instance: first, attempts: 1, sent: abstract.SentUnknown},
		"cancelled while connecting": {arrange: func(f *fleet, _ *member) { f.net.Blackhole(true) }, call: func(_ *fleet, c *client.RpcClient) error {
			call := c.CallFuture(ctx, "svc.do", nil)
			synctest.Wait()
			call.Cancel()
			return call.Wait(ctx, nil)
		}, code: abstract.Cancelled, instance: none, attempts: 0, sent: abstract.SentNo},
		"the client closes": {serve: silent, call: func(_ *fleet, c *client.RpcClient) error {
			call := c.CallFuture(ctx, "svc.do", nil)
			synctest.Wait()
			_ = c.Close()
			return call.Wait(ctx, nil)
		}, code: abstract.Disconnected, instance: first, attempts: 1, sent: abstract.SentUnknown},
		"the client was closed": {call: func(_ *fleet, c *client.RpcClient) error {
			_ = c.Close()
			return plain(c)
		}, code: abstract.Disconnected, instance: none, attempts: 0, sent: abstract.SentNo},
		"parameters that are no object": {call: func(_ *fleet, c *client.RpcClient) error { return c.Call(ctx, "svc.do", 7, nil) }, code: abstract.InvalidParams, instance: none, attempts: 0, sent: abstract.SentNo},
		"hedged, and not idempotent":    {call: func(_ *fleet, c *client.RpcClient) error { return plain(c, client.Hedge()) }, code: abstract.InvalidParams, instance: none, attempts: 0, sent: abstract.SentNo},
		"a rule that is not known":      {opts: []client.Option{client.WithBalancing("best")}, code: abstract.InvalidParams, instance: none, attempts: 0, sent: abstract.SentNo},
		"above the client's rate": {opts: []client.Option{client.WithRateLimit(1, 1)}, serve: answers, call: func(_ *fleet, c *client.RpcClient) error {
			require.NoError(t, plain(c))
			return plain(c)
		}, code: abstract.Overloaded, instance: none, attempts: 0, sent: abstract.SentNo, details: `{"retry_after_ms":1000}`},
		"the budget is used up": {opts: []client.Option{client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: -1})}, serve: hangsUp, call: func(_ *fleet, c *client.RpcClient) error { return plain(c, client.Idempotent()) }, code: abstract.Disconnected, instance: first, attempts: 1, sent: abstract.SentUnknown},
		"the request is too large": {opts: []client.Option{client.WithMaxFrame(2048)}, call: func(_ *fleet, c *client.RpcClient) error {
			return c.Call(ctx, "svc.do", map[string]string{"x": string(make([]byte, 4000))}, nil)
		}, code: abstract.TooLarge, instance: first, attempts: 1, sent: abstract.SentNo},
		"the result does not fit": {serve: answers, call: func(_ *fleet, c *client.RpcClient) error { return c.Call(ctx, "svc.do", nil, new(int)) }, code: abstract.InvalidMessage, instance: first, attempts: 1, sent: abstract.SentYes},
		"too many calls in flight": {opts: []client.Option{client.WithMaxPending(1)}, serve: silent, call: func(_ *fleet, c *client.RpcClient) error {
			c.CallFuture(ctx, "svc.do", nil)
			synctest.Wait()
			return plain(c)
		}, code: abstract.Overloaded, instance: first, attempts: 1, sent: abstract.SentNo},
		"the breaker is open": {opts: []client.Option{client.WithBreaker(client.Breaker{InRow: 1, OpenFor: time.Minute})}, serve: silent, call: func(_ *fleet, c *client.RpcClient) error {
			assert.ErrorIs(t, plain(c), abstract.ErrTimeout)
			return plain(c)
		}, code: abstract.Unavailable, instance: none, attempts: 0, sent: abstract.SentNo, details: `{"retry_after_ms":60000}`},
		"connecting takes too long": {arrange: func(f *fleet, _ *member) { f.net.Blackhole(true) }, code: abstract.Unavailable, instance: first, attempts: -1, sent: abstract.SentNo},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				m := f.join(1, "a", tt.serve)
				f.say(m.Provider)
				if tt.arrange != nil {
					tt.arrange(f, m)
				}
				c := f.client(tt.opts...)
				call := tt.call
				if call == nil {
					call = func(_ *fleet, c *client.RpcClient) error { return plain(c) }
				}
				err := call(f, c)
				e := failedAs(f, err)
				assert.Equal(f, tt.code, e.Code, "%v", err)
				assert.Equal(f, tt.instance, e.Instance, "%v", err)
				if tt.attempts >= 0 {
					assert.Equal(f, tt.attempts, e.Attempts, "%v", err)
				}
				assert.Equal(f, tt.sent, e.Sent, "%v", err)
				assert.NotEmpty(f, e.Op)
				assert.True(f, e.Message != "" || e.Err != nil, "words")
				if tt.details != "" {
					assert.JSONEq(f, tt.details, string(e.Details))
				}
				f.net.Blackhole(false)
			})
		})
	}
}
