package server

import (
	"context"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// peerInfo is who is at the other side, for handlers and interceptors.
func (c *conn) peerInfo() abstract.Peer {
	p := abstract.Peer{Addr: c.name()}
	if c.ep.cfg.guard != nil {
		p.Identity = c.identity()
	}
	return p
}

// belongs is what a handler's context holds of its call, beside the call itself; nil
// when key is about something else.
func (c *callContext) belongs(key any) any {
	switch key.(type) {
	case abstract.MetadataKey:
		if c.meta != nil {
			return c.meta
		}
	case abstract.PeerKey:
		if c.conn != nil {
			return c.conn.peerInfo()
		}
	}
	return nil
}

// unanswered says whether nobody waits for the answer to a request. Existing programs
// always get one.
func (c *conn) unanswered(req *message.RpcRequest) bool { return req.OneWay && c.modern() }

// lifeOf is the context that a call's is made of: its connection's, or, as nobody waits
// for an answer over that, the server's.
func (c *conn) lifeOf(req *message.RpcRequest) context.Context {
	if c.unanswered(req) {
		return c.ep.unheard
	}
	return c.ctx
}
