package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type numbers struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

// TestInterceptorsStandAroundHandlers serves inside the turn, on workers, and behind
// limits.
func TestInterceptorsStandAroundHandlers(t *testing.T) {
	type mine struct{}
	for name, opt := range map[string]server.Option{
		"in the turn": server.WithLogger(quiet), "on workers": server.WithHandlers(8, 8), "behind a limit": server.WithMaxConcurrent(4),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			seen := make(chan string, 20)
			outer := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
				assert.Equal(t, abstract.OpServe, op.Kind)
				assert.NotEmpty(t, op.Peer.Addr)
				err := next(context.WithValue(ctx, mine{}, op.Meta["who"]), op)
				seen <- fmt.Sprint(op.Name, " ", op.Result, " ", err)
				return err
			}
			inner := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
				if op.Meta["refuse"] != "" {
					return abstract.Errorf(abstract.Denied, "refused")
				}
				if op.Meta["double"] != "" {
					var in numbers
					assert.NoError(t, json.Unmarshal(op.Params.(json.RawMessage), &in))
					op.Params = numbers{2 * in.Num1, 2 * in.Num2}
				}
				if op.Meta["hide"] != "" {
					assert.NoError(t, next(ctx, op))
					op.Result = -1
					return nil
				}
				return next(ctx, op)
			}
			srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet), opt, server.WithInterceptors(outer), server.WithInterceptors(inner))
			require.NoError(t, server.Handle(srv, "add", func(ctx context.Context, in numbers) (int, error) {
				switch ctx.Value(mine{}) {
				case "a stranger":
					return 0, errors.New("secret")
				case "a vandal":
					panic("broken")
				}
				_, has := ctx.Deadline()
				assert.True(t, has, "it is still the call's context")
				assert.NotNil(t, abstract.CallOf(ctx))
				return in.Num1 + in.Num2, nil
			}))
			require.NoError(t, srv.Listen())
			ended := make(chan error, 1)
			go func() { ended <- srv.Serve() }()
			defer func() {
				assert.NoError(t, srv.Shutdown(context.Background()))
				assert.NoError(t, <-ended)
			}()
			calls, err := client.DialRpc(ctx, srv.Addr().String(), patiently(client.WithLogger(quiet))...)
			require.NoError(t, err)
			defer calls.Close()
			call := func(name, value string, params any) (n int, err error) {
				err = calls.Call(ctx, "add", params, &n, client.Metadata(map[string]string{name: value}))
				return n, err
			}
			n, err := call("who", "me", numbers{1, 2})
			require.NoError(t, err)
			assert.Equal(t, 3, n)
			n, err = call("double", "1", numbers{1, 2})
			require.NoError(t, err)
			assert.Equal(t, 6, n)
			n, err = call("hide", "1", numbers{1, 2})
			require.NoError(t, err)
			assert.Equal(t, -1, n)
			_, err = call("refuse", "1", numbers{1, 2})
			require.ErrorIs(t, err, abstract.ErrDenied)
			_, err = call("who", "a stranger", numbers{1, 2})
			require.ErrorIs(t, err, abstract.ErrInternal)
			assert.NotContains(t, err.Error(), "secret")
			_, err = call("who", "a vandal", numbers{1, 2})
			require.ErrorIs(t, err, abstract.ErrInternal)
			_, err = call("who", "me", map[string]any{"num1": 1})
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.ErrorContains(t, err, `add needs a parameter "num2"`)
			require.ErrorIs(t, calls.Call(ctx, "other", nil, nil), abstract.ErrMethodNotFound)
			close(seen)
			var lines []string
			for line := range seen {
				lines = append(lines, line)
			}
			assert.Equal(t, []string{
				"add 3 <nil>", "add 6 <nil>", "add -1 <nil>", "add <nil> denied: refused", "add <nil> secret",
				"add <nil> internal error: the method failed", `add <nil> invalid params: add needs a parameter "num2" (integer)`,
			}, lines)
		})
	}
}

func TestServeMethodRefusesWhatCannotBeServed(t *testing.T) {
	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet))
	assert.ErrorIs(t, srv.ServeMethod(abstract.Method{Name: "m"}), abstract.ErrInvalidParams)
	broker := newBroker(server.WithLogger(quiet), server.WithRoles(server.RoleTopic))
	err := server.Handle(broker, "m", func(context.Context, numbers) (int, error) { return 0, nil })
	assert.ErrorIs(t, err, abstract.ErrUnsupported)
}
