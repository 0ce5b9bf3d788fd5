//go:build unix

package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/client"
	"trefoil/server"
)

// The same for a stream: what is provided with types or by a command is called with
// types, without, and by the command line.

type uptoArgs struct {
	Last int `json:"last"`
}

var upto = trefoil.NewServerStream[uptoArgs, int]("count.upto")

func TestEveryWayToOpenAStreamReachesEveryWayToServeOne(t *testing.T) {
	binary := build(t, "./cmd/trefoil")
	providers := map[string]func(w *world){
		"typed": func(w *world) {
			w.provider(func(srv *server.RpcServer) {
				require.NoError(w.t, upto.Handle(srv, func(_ context.Context, in uptoArgs, send func(int) error) error {
					for n := 1; n <= in.Last; n++ {
						if err := send(n); err != nil {
							return err
						}
					}
					return nil
				}))
			})
		},
		"command line": func(w *world) {
			w.command(binary, "provide", upto.Name(), "--stream", "--broker", w.addr, "--exec", `read line; seq 1 $(echo "$line" | tr -dc 0-9)`)
		},
	}
	callers := map[string]func(w *world, calls *client.RpcClient) ([]int, error){
		"typed": func(w *world, calls *client.RpcClient) (list []int, _ error) {
			for n, err := range upto.Call(w.t.Context(), calls, uptoArgs{300}) {
				if err != nil {
					return list, err
				}
				list = append(list, n)
			}
			return list, nil
		},
		"untyped": func(w *world, calls *client.RpcClient) (list []int, _ error) {
			s, err := calls.OpenStream(w.t.Context(), upto.Name(), map[string]int{"last": 300})
			if err != nil {
				return nil, err
			}
			defer s.Close()
			for {
				var n int
				switch err := s.Receive(&n); {
				case errors.Is(err, io.EOF):
					return list, nil
				case err != nil:
					return list, err
				}
				list = append(list, n)
			}
		},
		"command line": func(w *world, _ *client.RpcClient) (list []int, _ error) {
			out, err := exec.CommandContext(w.t.Context(), binary, "call", upto.Name(), `{"last":300}`, "--stream", "--broker", w.addr).Output()
			for d := json.NewDecoder(bytes.NewReader(out)); err == nil && d.More(); {
				var n int
				err = d.Decode(&n)
				list = append(list, n)
			}
			return list, err
		},
	}
	want := make([]int, 300)
	for i := range want {
		want[i] = i + 1
	}
	for provided, start := range providers {
		t.Run("provided "+provided, func(t *testing.T) {
			w := newWorld(t)
			start(w)
			calls := w.calls()
			for called, call := range callers {
				list, err := call(w, calls)
				if assert.NoError(t, err, "called %s", called) {
					assert.Equal(t, want, list, "called %s", called)
				}
			}
		})
	}
}
