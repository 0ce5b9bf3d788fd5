package server

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// WithInstance sets what tells an RpcServer from others, and from one that was at its
// address before. The default is another one for each server that is made.
func WithInstance(id string) Option { return func(c *config) { c.callee.instance = id } }

// Instance tells the server from others, and from one that was at its address
// before: callers that mean another one are refused.
func (s *RpcServer) Instance() string { return s.instance }

// meant returns why a peer that wants to reach an instance is in the wrong place; nil
// when it is not.
func (ep *endpoint) meant(instance string) error {
	if instance == "" || ep.instance == "" || instance == ep.instance {
		return nil
	}
	return abstract.Errorf(abstract.WrongInstance, "another process listens here by now than the one that you want; ask the registry again")
}

// addressed returns why a request is not for this server; nil when it is.
func (s *RpcServer) addressed(req *message.RpcRequest) error {
	if req.Instance == "" || req.Instance == s.instance {
		return nil
	}
	return abstract.Errorf(abstract.WrongInstance, "the call is for another instance than the one that serves here; ask the registry again")
}
