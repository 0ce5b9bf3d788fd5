package server

import (
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// sendOn passes on a request that nobody answers: with its queueing it is over.
func (r *relay) sendOn(t *turn, end *relayEnd, instance string, req *message.RpcRequest, deadline time.Time) error {
	t.conn.release(access.InFlight)
	var p requestor.Pending // for an id that no other call to the provider has
	if err := end.requests.Put(&p, deadline, abstract.RspRPC, requestor.Completion(func(abstract.BaseMessage, error) {})); err != nil {
		return err
	}
	frame, err := end.conn.encode(&message.RpcRequest{
		Header: message.ID(p.ID()), Method: req.Method, Parameters: req.Parameters,
		TimeoutMs: max(1, time.Until(deadline).Milliseconds()), Instance: instance, OneWay: true, Meta: req.Meta,
	})
	if err == nil {
		err = end.conn.Queue(frame)
	}
	end.requests.Forget(&p)
	if err != nil {
		return err
	}
	t.touch(end.conn)
	r.exit()
	return nil
}
