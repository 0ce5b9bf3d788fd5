package rpc

import (
	"context"
	"fmt"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"

	"trefoil/bench/internal/harness"
)

func fasthttpContestant() contestant {
	return contestant{
		name: "fasthttp", kind: harness.Peer, serve: serveFastHTTP, dial: dialFastHTTP, serial: true,
		note: "has one call at a time on a connection: it opens as many as calls are in flight",
	}
}

func serveFastHTTP(context.Context, serveSpec) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	srv := &fasthttp.Server{Handler: echoHTTP, Logger: noLog{}}
	go func() { _ = srv.Serve(ln) }() // ends with the listener
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { ln.Close() }}, nil
}

type noLog struct{}

// Printf drops the line.
func (noLog) Printf(string, ...any) {}

func echoHTTP(ctx *fasthttp.RequestCtx) {
	var in EchoArgs
	if err := json.Unmarshal(ctx.PostBody(), &in); err != nil {
		ctx.Error(err.Error(), fasthttp.StatusBadRequest)
		return
	}
	work(in.Text)
	b, err := json.Marshal(in)
	if err != nil {
		ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(b)
}

type fastHTTPCaller struct {
	c   *fasthttp.HostClient
	url string
}

func dialFastHTTP(_ context.Context, addr string) (caller, error) {
	return fastHTTPCaller{c: &fasthttp.HostClient{Addr: addr, MaxConns: 1}, url: "http://" + addr + servicePath}, nil
}

func (c fastHTTPCaller) Close() { c.c.CloseIdleConnections() }

// Call posts a JSON object.
func (c fastHTTPCaller) Call(_ context.Context, p payload) error {
	req, rsp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(rsp)
	b, err := json.Marshal(EchoArgs{p.text})
	if err != nil {
		return err
	}
	req.SetRequestURI(c.url)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.SetBodyRaw(b)
	if err := c.c.Do(req, rsp); err != nil {
		return err
	}
	if rsp.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("status %d", rsp.StatusCode())
	}
	var out EchoArgs
	if err := json.Unmarshal(rsp.Body(), &out); err != nil {
		return err
	}
	return p.check(out.Text)
}
