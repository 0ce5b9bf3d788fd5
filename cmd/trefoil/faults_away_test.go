package main

import (
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// turnedAway counts the greetings that a broker refuses: those that it hints when to
// come again, and those that it does not.
type turnedAway struct{ hinted, plain atomic.Int64 }

func (r *turnedAway) transport(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	open := cfg.OnOpen
	cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver { return greeted{open(bc), r} }
	return client.StandardNet(addr, cfg)
}

type greeted struct {
	abstract.Receiver
	told *turnedAway
}

func (g greeted) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		if hello, ok := m.(*message.HelloResponse); ok && hello.Code != abstract.OK {
			if hello.RetryAfterMs > 0 {
				g.told.hinted.Add(1)
			} else {
				g.told.plain.Add(1)
			}
		}
	}
	g.Receiver.OnMessages(batch)
}
