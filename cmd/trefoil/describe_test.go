package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type placeArgs struct {
	ID      int `json:"id" jsonschema:"of the order"`
	Address struct {
		Zip string `json:"zip"`
	} `json:"address"`
	Lines []struct {
		SKU string `json:"sku"`
	} `json:"lines,omitempty"`
}

// describedWorld is a broker with two providers of orders.place, one of which drains, and
// an existing program that provides old.
func describedWorld(t *testing.T) (broker, provider string) {
	t.Helper()
	_, broker = startBroker(t)
	place := abstract.Method{
		Name: "orders.place", In: reflect.TypeFor[placeArgs](), Out: reflect.TypeFor[int](), Doc: "Places an order.", Idempotent: true,
		Call: func(context.Context, any) (any, error) { return 7, nil },
	}
	count := abstract.Method{
		Name: "orders.count", In: reflect.TypeFor[map[string]any](), Out: reflect.TypeFor[int](), Examples: []json.RawMessage{json.RawMessage(`{ "since": "it's" }`)},
		Call: func(context.Context, any) (any, error) { return 7, nil },
	}
	for _, instance := range []string{"one", "two"} {
		conn, _ := dialBroker(t, broker)
		srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(silent), server.WithRegistry(client.NewRegistryClient(conn)), server.WithInstance(instance),
			server.WithTraits(abstract.Traits{Zone: "west", Weight: 50, Version: "v1", State: stateOf(instance)}))
		require.NoError(t, srv.ServeMethod(place))
		if instance == "one" {
			require.NoError(t, srv.ServeMethod(count))
		}
		require.NoError(t, srv.Announce(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		t.Cleanup(func() {
			assert.NoError(t, srv.Shutdown(context.Background()))
			assert.NoError(t, <-ended)
		})
		if instance == "one" {
			provider = srv.Addr().String()
		}
	}
	return broker, provider
}

func stateOf(instance string) abstract.ProviderState {
	if instance == "two" {
		return abstract.Retiring
	}
	return abstract.Up
}

func TestServicesAreListed(t *testing.T) {
	broker, _ := describedWorld(t)
	_, _ = startProvider(t, broker, "echo", "cat")

	f := inProcess(t, "", "services", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, "(no service)\n  echo  1 up\norders\n  orders.count  1 up\n  orders.place  1 up, 1 draining\n", f.out)

	f = inProcess(t, "", "services", "orders.p", "--json", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.JSONEq(t, `{"service":"orders","methods":[{"method":"orders.place","instances":2,"states":{"up":1,"draining":1}}]}`, f.out)

	f = inProcess(t, "", "services", "payments", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Empty(t, f.out)
	assert.Contains(t, f.err, "nobody provides a method now that begins with payments")
}

func TestMethodIsDescribed(t *testing.T) {
	broker, provider := describedWorld(t)
	f := inProcess(t, "", "describe", "orders.place", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	for _, want := range []string{
		"orders.place(id integer, address object, lines array?) integer\n  Places an order.\n  may be called again with the same outcome\n",
		"\nparameters\n  {\n    \"type\": \"object\",\n", `"description": "of the order"`, "\nresult\n  {\n    \"type\": \"integer\"\n  }\n",
		"\ntry\n  trefoil call orders.place '{\"id\":0,\"address\":{\"zip\":\"\"}}'\n", "\ninstances\n  " + provider + " up instance=one zone=west version=v1 weight=50 relay\n", " draining instance=two ",
	} {
		assert.Contains(t, f.out, want)
	}

	f = inProcess(t, "", "describe", "orders.count", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, `  trefoil call orders.count '{"since":"it'\''s"}'`+"\n")

	f = inProcess(t, "", "describe", "orders.place", "--json", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	var out describeOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	assert.Equal(t, "orders.place", out.Method)
	assert.JSONEq(t, `{"id":0,"address":{"zip":""}}`, string(out.Skeleton))
	assert.Len(t, out.Instances, 2)
	assert.NotContains(t, f.out, "silent")

	f = inProcess(t, "", "describe", "orders.place", "--direct", provider)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, "trefoil call orders.place --direct "+provider+" ", "what to try works as it stands there")
	assert.Contains(t, f.out, "Places an order.")
	assert.NotContains(t, f.out, "instances")
}

func TestUnknownMethodHasNeighbours(t *testing.T) {
	broker, provider := describedWorld(t)
	for name, args := range map[string][]string{
		"through the broker": {"describe", "orders.plac", "--broker", broker},
		"directly":           {"describe", "orders.plac", "--direct", provider},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", args...)
			assert.Equal(t, exitFailed, f.code)
			assert.Empty(t, f.out)
			assert.Contains(t, f.err, "did you mean orders.place?")
			assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
		})
	}
	f := inProcess(t, "", "describe", "payments.refund", "--broker", broker)
	assert.Contains(t, f.err, "nobody provides payments.refund now; start a provider")
}

// TestExistingProgramSaysNothingOfItself describes a method of a provider that knows no
// more than calls.
func TestExistingProgramSaysNothingOfItself(t *testing.T) {
	_, broker := startBroker(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	go answerNotFound(ln)
	conn, err := net.Dial("tcp", broker)
	require.NoError(t, err)
	defer conn.Close()
	at, err := abstract.ParseHost(ln.Addr().String())
	require.NoError(t, err)
	require.NoError(t, writeFrame(conn, abstract.ReqService, "1", fmt.Sprintf(`{"optype":0,"method":"old","host":{"ip":%q,"port":%d}}`, at.IP, at.Port)))
	_, _, body, err := readFrame(conn)
	require.NoError(t, err)
	require.JSONEq(t, `{"optype":0,"rcode":0}`, string(body))

	f := inProcess(t, "", "describe", "old", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, "old\n  says nothing of itself")
	assert.Contains(t, f.out, ln.Addr().String()+" up existing-program")

	f = inProcess(t, "", "call", "old", "--skeleton", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "old says nothing of itself")
}

// answerNotFound answers every request with rcode 6, as an existing program does.
func answerNotFound(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for {
				_, id, _, err := readFrame(conn)
				if err != nil || writeFrame(conn, abstract.RspRPC, id, `{"rcode":6,"result":null}`) != nil {
					return
				}
			}
		}()
	}
}

func TestProviderIsDescribedByAFile(t *testing.T) {
	_, broker := startBroker(t)
	file := filepath.Join(t.TempDir(), "upper.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"doc":"Makes letters large.","idempotent":true,"parameters":{"type":"object","required":["text"],"properties":{"text":{"type":"string","maxLength":5}}},
		"result":{"type":"string"},"examples":[{"text":"abc"}]}`), 0o600))
	startProvider(t, broker, "upper", "cat", "--description", file)

	f := inProcess(t, "", "describe", "upper", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, "upper(text string) string\n  Makes letters large.\n  may be called again")
	assert.Contains(t, f.out, `trefoil call upper '{"text":"abc"}'`)
	f = inProcess(t, "", "call", "upper", `{"text":"abcdef"}`, "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, `parameter "text" of upper must have at most 5 characters, not 6`)

	for name, text := range map[string]string{"no JSON": `{`, "another field": `{"name":"x"}`, "no schema": `{"parameters":5}`, "no example": `{"examples":[1]}`} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		f := inProcess(t, "", "provide", "upper", "--exec", "cat", "--description", file, "--broker", broker)
		assert.Equal(t, exitUsage, f.code, name)
		assert.Contains(t, f.err, "trefoil provide: ")
		assert.NotContains(t, f.err, "struct", "no words of Go")
	}
	f = inProcess(t, "", "provide", "upper", "--exec", "cat", "--description", file+".missing", "--broker", broker)
	assert.Equal(t, exitUsage, f.code)
}

func TestSkeletonIsPrinted(t *testing.T) {
	broker, provider := describedWorld(t)
	for _, args := range [][]string{{"--broker", broker}, {"--direct", provider}} {
		f := inProcess(t, "", append([]string{"call", "orders.place", "--skeleton"}, args...)...)
		require.Equal(t, exitOK, f.code, f.err)
		assert.JSONEq(t, `{"id":0,"address":{"zip":""}}`, f.out)
		assert.Equal(t, 1, strings.Count(f.out, "\n"))
	}
}

func TestShellsAreOfferedWords(t *testing.T) {
	broker, provider := describedWorld(t)
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"methods of call":         {[]string{"call", ""}, []string{"orders.count", "orders.place"}},
		"methods that begin so":   {[]string{"call", "orders.p"}, []string{"orders.place"}},
		"methods of describe":     {[]string{"describe", "ord"}, []string{"orders.count", "orders.place"}},
		"methods of discover":     {[]string{"discover", "orders.c"}, []string{"orders.count"}},
		"none":                    {[]string{"call", "pay"}, nil},
		"arguments":               {[]string{"call", "orders.place", ""}, []string{`{"id":0,"address":{"zip":""}}`}},
		"an example of arguments": {[]string{"call", "orders.count", ""}, []string{`{"since":"it's"}`}},
		"arguments begun":         {[]string{"call", "orders.place", `{"id":5`}, nil},
		"nothing further":         {[]string{"call", "orders.place", "{}", ""}, nil},
		"arguments of nobody":     {[]string{"call", "pay", ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TREFOIL_BROKER", broker)
			assert.Equal(t, tt.want, wordsFor(t, tt.args...))
		})
	}
	assert.Equal(t, []string{"orders.count", "orders.place"}, wordsFor(t, "call", "--direct", provider, ""))
	assert.Equal(t, []string{"orders.count", "orders.place"}, wordsFor(t, "describe", "--broker", broker, "o"), "flags of the line count")
	assert.Contains(t, wordsFor(t, "call", "--ti"), "--timeout\tgive up after this time")
}

func TestCompletionIsQuietWithoutABroker(t *testing.T) {
	addr := freeAddr(t)
	for _, args := range [][]string{{"call", ""}, {"call", "m", ""}, {"describe", ""}, {"services", ""}} {
		f := inProcess(t, "", append([]string{"__complete", args[0], "--broker", addr}, args[1:]...)...)
		assert.Equal(t, exitOK, f.code)
		assert.Equal(t, ":4\n", f.out, "nothing is offered, no files either")
		assert.Equal(t, 1, strings.Count(f.err, "\n"), "only what shells throw away: %s", f.err)
	}
}

func TestCompletionScriptsAreWritten(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		f := inProcess(t, "", "completion", shell)
		require.Equal(t, exitOK, f.code, f.err)
		assert.Contains(t, f.out, "__complete")
	}
}

// wordsFor are the words that a shell is offered to complete a line with.
func wordsFor(t *testing.T, args ...string) (words []string) {
	t.Helper()
	f := inProcess(t, "", append([]string{"__complete"}, args...)...)
	require.Equal(t, exitOK, f.code, f.err)
	for line := range strings.Lines(f.out) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, ":") {
			words = append(words, line)
		}
	}
	return words
}

// TestFieldsAreNamedOnTheCommandLine calls with parameters that do not fit.
func TestFieldsAreNamedOnTheCommandLine(t *testing.T) {
	broker, provider := describedWorld(t)
	for params, want := range map[string]string{
		`{"id":"7","address":{"zip":"8"}}`:                               `parameter "id" of orders.place must be integer, not string`,
		`{"id":7,"address":{"zip":8000}}`:                                `parameter "address.zip" of orders.place must be string, not integer`,
		`{"id":7,"address":{"zip":"8"},"lines":[{"sku":"a"},{"sku":5}]}`: `parameter "lines[1].sku" of orders.place must be string, not integer`,
		`{"address":{"zip":"8"}}`:                                        `orders.place needs a parameter "id" (integer)`,
	} {
		for _, args := range [][]string{{"--broker", broker}, {"--direct", provider}, {"--broker", broker, "--relay"}, {"--broker", broker, "--mode", "callback"}} {
			f := inProcess(t, "", append([]string{"call", "orders.place", params}, args...)...)
			assert.Equal(t, exitFailed, f.code)
			assert.Contains(t, f.err, want)
			f = inProcess(t, "", append([]string{"call", "orders.place", params, "--json"}, args...)...)
			var out callOutput
			require.NoError(t, json.Unmarshal([]byte(f.out), &out))
			assert.Equal(t, abstract.InvalidParams, out.Error.RCode)
			assert.Contains(t, out.Error.Message, want)
		}
	}
}
