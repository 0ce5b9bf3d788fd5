//go:build unix

package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/docs/examples/userservice/user"
	"trefoil/server"
)

// One method, user.UserService.Login, provided in five ways and called in five: it must
// not matter to either side in which way the other one was written.

const loginMethod = "user.UserService.Login"

type (
	loginArgs struct {
		Name string `json:"name"`
		Pwd  string `json:"pwd"`
	}
	loginResult struct {
		Result  resultCode `json:"result"`
		Success bool       `json:"success"`
	}
	resultCode struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}
)

// typedLogin is what somebody writes by hand who knows the .proto file from hearsay.
var typedLogin = trefoil.NewMethod[loginArgs, loginResult](loginMethod)

func login(_ context.Context, in loginArgs) (loginResult, error) {
	if in.Pwd != "secret" {
		return loginResult{Result: resultCode{1, "wrong password, " + in.Name}}, nil
	}
	return loginResult{Success: true}, nil
}

// users serves the stub.
type users struct {
	user.UnimplementedUserServiceServer
}

func (users) Login(_ context.Context, in *user.LoginRequest) (*user.LoginResponse, error) {
	if in.GetPwd() != "secret" {
		return &user.LoginResponse{Result: &user.ResultCode{Errcode: 1, Errmsg: "wrong password, " + in.GetName()}}, nil
	}
	return &user.LoginResponse{Success: true}, nil
}

// loginProviders start a provider of the method, and return when it is registered.
func loginProviders(binary string) map[string]func(w *world) {
	return map[string]func(w *world){
		"stub": func(w *world) {
			w.provider(func(srv *server.RpcServer) { require.NoError(w.t, user.RegisterUserService(srv, users{})) })
		},
		"typed": func(w *world) {
			w.provider(func(srv *server.RpcServer) { require.NoError(w.t, typedLogin.Handle(srv, login)) })
		},
		"untyped": func(w *world) {
			d := server.Description{Method: loginMethod, Parameters: []server.Parameter{{Name: "name", Kind: server.KindString}, {Name: "pwd", Kind: server.KindString}}, Result: server.KindObject}
			w.provider(func(srv *server.RpcServer) {
				require.NoError(w.t, srv.HandleFunc(d, func(_ context.Context, params json.RawMessage) (any, error) {
					var in map[string]string
					if err := json.Unmarshal(params, &in); err != nil {
						return nil, err
					}
					if in["pwd"] != "secret" {
						return map[string]any{"success": false, "result": map[string]any{"errcode": 1, "errmsg": "wrong password, " + in["name"]}}, nil
					}
					return map[string]any{"success": true}, nil
				}))
			})
		},
		"command line": func(w *world) { w.provideByCommand(binary) },
		"python":       func(w *world) { w.provideInPython() },
	}
}

func (w *world) provideByCommand(binary string) {
	w.t.Helper()
	w.command(binary, "provide", loginMethod, "--broker", w.addr, "--exec",
		`grep -q '"secret"' && echo '{"success":true}' || echo '{"result":{"errcode":1,"errmsg":"wrong password, eve"}}'`)
}

// command starts a command that provides something, until the test's end.
func (w *world) command(binary string, args ...string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, args...)
	stdout, err := cmd.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, cmd.Start())
	w.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(w.t, err)
	require.Contains(w.t, line, "providing ")
}

func (w *world) provideInPython() {
	w.t.Helper()
	s := runPython(w.t, "-c", `
import sys, trefoil
with trefoil.connect(sys.argv[1]) as client, trefoil.Provider(client) as provider:
    @provider.method("`+loginMethod+`")
    def login(name: str, pwd: str) -> dict:
        if pwd != "secret":
            return {"result": {"errcode": 1, "errmsg": "wrong password, " + name}}
        return {"success": True}
    provider.start()
    print("ready", flush=True)
    sys.stdin.read()
`, w.addr)
	require.Equal(w.t, "ready", s.line())
}

// caller calls the method with parameters, in its own way.
type caller func(w *world, calls *client.RpcClient, in any) (loginResult, error)

// callers are the ways to call. Those with a type of parameters cannot say anything
// else, so they are not told of what is wrong.
func callers(binary string) map[string]caller {
	return map[string]caller{
		"stub": func(w *world, calls *client.RpcClient, in any) (loginResult, error) {
			args := in.(loginArgs)
			out, err := user.NewUserServiceClient(calls).Login(w.t.Context(), &user.LoginRequest{Name: args.Name, Pwd: args.Pwd})
			return loginResult{resultCode{int(out.GetResult().GetErrcode()), out.GetResult().GetErrmsg()}, out.GetSuccess()}, err
		},
		"typed": func(w *world, calls *client.RpcClient, in any) (loginResult, error) {
			return typedLogin.Call(w.t.Context(), calls, in.(loginArgs))
		},
		"untyped": func(w *world, calls *client.RpcClient, in any) (out loginResult, err error) {
			err = calls.Call(w.t.Context(), loginMethod, in, &out)
			return out, err
		},
		"command line": func(w *world, _ *client.RpcClient, in any) (loginResult, error) {
			return w.callOutside(in, exec.CommandContext(w.t.Context(), binary, "call", loginMethod, jsonOf(w.t, in), "--broker", w.addr))
		},
		"python": func(w *world, _ *client.RpcClient, in any) (loginResult, error) {
			cmd := exec.CommandContext(w.t.Context(), python3(w.t), "call.py", w.addr, loginMethod, jsonOf(w.t, in))
			cmd.Dir = "python"
			cmd.Env = append(cmd.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			return w.callOutside(in, cmd)
		},
	}
}

// callOutside runs a program that calls and prints the result.
func (w *world) callOutside(in any, cmd *exec.Cmd) (out loginResult, _ error) {
	w.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return out, errors.New(stderr.String())
	}
	require.NoError(w.t, json.Unmarshal(stdout, &out), string(stdout))
	return out, nil
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func TestEveryWayToCallReachesEveryWayToProvide(t *testing.T) {
	binary := build(t, "./cmd/trefoil")
	for provided, start := range loginProviders(binary) {
		t.Run("provided "+provided, func(t *testing.T) {
			w := newWorld(t)
			start(w)
			calls := w.calls()
			for called, call := range callers(binary) {
				out, err := call(w, calls, loginArgs{"eve", "secret"})
				if assert.NoError(t, err, "called %s", called) {
					assert.Equal(t, loginResult{Success: true}, out, "called %s", called)
				}
				out, err = call(w, calls, loginArgs{"eve", "guess"})
				if assert.NoError(t, err, "called %s", called) {
					assert.Equal(t, loginResult{Result: resultCode{1, "wrong password, eve"}}, out, "called %s", called)
				}
			}
		})
	}
}

// A parameter of the wrong kind is refused with rcode 5 and by its name, whoever sends
// it and whoever is asked; a command that is run by the command line takes anything.
func TestEveryWayToCallIsToldWhichParameterIsWrong(t *testing.T) {
	binary := build(t, "./cmd/trefoil")
	// The same method with another idea of its parameters: how a typed caller gets it wrong.
	mistaken := trefoil.NewMethod[struct {
		Name []int  `json:"name"`
		Pwd  string `json:"pwd"`
	}, loginResult](loginMethod)
	ways := callers(binary)
	ways["typed"] = func(w *world, calls *client.RpcClient, _ any) (loginResult, error) {
		return mistaken.Call(w.t.Context(), calls, struct {
			Name []int  `json:"name"`
			Pwd  string `json:"pwd"`
		}{[]int{7}, "secret"})
	}
	delete(ways, "stub") // has no way to get it wrong
	for provided, start := range loginProviders(binary) {
		if provided == "command line" {
			continue
		}
		t.Run("provided "+provided, func(t *testing.T) {
			w := newWorld(t)
			start(w)
			calls := w.calls()
			for called, call := range ways {
				_, err := call(w, calls, map[string]any{"name": []int{7}, "pwd": "secret"})
				if !assert.Error(t, err, "called %s", called) {
					continue
				}
				if inside := called == "typed" || called == "untyped"; inside {
					assert.ErrorIs(t, err, abstract.ErrInvalidParams, "called %s", called)
				}
				text := strings.ToLower(err.Error())
				assert.Regexp(t, `invalid.param`, text, "called %s", called)
				assert.Regexp(t, `\bname\b`, text, "called %s", called)
			}
		})
	}
}
