//go:build unix

package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// greet says HELLO, and returns the answer.
func (p *peer) greet(more string) string {
	p.t.Helper()
	p.send(16, `{"version":1,"agent":"test","max_frame":65536`+more+`}`)
	_, answer, err := p.read()
	require.NoError(p.t, err)
	return string(answer)
}

func (r *reloaded) offersNoCompression(reload func()) {
	before := r.peer()
	assert.Contains(r.t, before.greet(`,"compress":["s2"]`), `"compress":["s2","zstd"]`)
	reload()
	assert.NotContains(r.t, r.peer().greet(`,"compress":["s2"]`), "compress")
	before.ask(2, `{"optype":0,"topic_key":"t"}`)
}

// compressesShorterBodies subscribes to messages of 2,000 bytes as somebody who has s2.
func (r *reloaded) compressesShorterBodies(reload func()) {
	compressed := func(topic string) bool {
		publisher, subscriber := r.peer(), r.peer()
		publisher.ask(2, `{"optype":0,"topic_key":"`+topic+`"}`)
		subscriber.greet(`,"compress":["s2"]`)
		subscriber.ask(2, `{"optype":2,"topic_key":"`+topic+`"}`)
		publisher.ask(2, `{"optype":4,"topic_key":"`+topic+`","topic_msg":"`+strings.Repeat("x", 2000)+`"}`)
		for {
			mtype, _, err := subscriber.read()
			require.NoError(r.t, err)
			if t := abstract.MType(mtype); t.Plain() == abstract.ReqTopic {
				return t.Compressed() == abstract.CompressS2
			}
		}
	}
	assert.False(r.t, compressed("before"))
	reload()
	assert.True(r.t, compressed("after"))
}

// registers has a peer register a method at an address of this machine.
func (r *reloaded) registers(method string, port int, more string) (p *peer, answer string) {
	r.t.Helper()
	p = r.peer()
	if more != "" {
		p.greet("")
	}
	p.send(4, fmt.Sprintf(`{"optype":0,"method":%q,"host":{"ip":"127.0.0.1","port":%d}%s}`, method, port, more))
	_, body, err := p.read()
	require.NoError(r.t, err)
	return p, string(body)
}

// portOf is an address's.
func portOf(r *reloaded, addr string) (port int) {
	r.t.Helper()
	_, text, err := net.SplitHostPort(addr)
	require.NoError(r.t, err)
	_, err = fmt.Sscan(text, &port)
	require.NoError(r.t, err)
	return port
}

// looksForProviders registers somebody who is not there, which only shows after the reload.
func (r *reloaded) looksForProviders(reload func()) {
	nobody := freeAddr(r.t)
	_, answer := r.registers("m", portOf(r, nobody), "")
	require.Contains(r.t, answer, `"rcode":0`)
	assert.NotContains(r.t, r.err.text(), "cannot be reached")
	reload()
	assert.Contains(r.t, r.lineWith(r.err, "host cannot be reached"), nobody)
}

// givesSilentProvidersUp registers providers that take connections and say nothing. The
// first is being looked at when the settings change.
func (r *reloaded) givesSilentProvidersUp(reload func()) {
	silent := func(method string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(r.t, err)
		r.t.Cleanup(func() { _ = ln.Close() })
		_, answer := r.registers(method, portOf(r, ln.Addr().String()), `,"hello":1`)
		require.Contains(r.t, answer, `"rcode":0`)
		return ln.Addr().String()
	}
	silent("before")
	reload()
	addr := silent("after")
	r.lineWith(r.err, `msg="host cannot be reached" area=registry host=`+addr)
}

func (r *reloaded) refusesWhoIsNotThere(reload func()) {
	port := portOf(r, freeAddr(r.t))
	_, answer := r.registers("before", port, "")
	assert.Contains(r.t, answer, `"rcode":0`)
	reload()
	_, answer = r.registers("after", port, "")
	assert.NotContains(r.t, answer, `"rcode":0`)
	assert.Contains(r.t, r.lineWith(r.err, "provider not reached, and not registered"), fmt.Sprint(port))
}

// losesProviders has many providers that go at once.
func (r *reloaded) losesProviders(method string) {
	const many = 30
	var all []*peer
	for i := range many {
		p, answer := r.registers(fmt.Sprintf("%s%d", method, i), 1+i, "")
		require.Contains(r.t, answer, `"rcode":0`)
		all = append(all, p)
	}
	for _, p := range all {
		_ = p.Close()
	}
}

func (r *reloaded) believesLossesUntilReloaded(reload func()) {
	r.losesProviders("before")
	r.eventually(func() bool { return strings.Contains(r.status(), `"connections":0`) })
	assert.NotContains(r.t, r.err.text(), "most providers are lost")
	reload()
	r.losesProviders("after")
	r.lineWith(r.err, "most providers are lost at once")
}

func (r *reloaded) letsGoOfWhatIsLost(reload func()) {
	reload()
	r.losesProviders("m")
	r.lineWith(r.err, "most providers are lost at once")
	r.lineWith(r.err, "providers that were lost and kept are gone now")
}

// status is what the registry says of itself.
func (r *reloaded) status() string {
	f := inProcess(r.t, "", "registry", "status", "--broker", r.addr, "--json")
	require.Equal(r.t, exitOK, f.code, f.err)
	return f.out
}
