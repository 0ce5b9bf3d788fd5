package client

import (
	"sync"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/message"
)

// serving is who takes the calls that come over a Conn: the broker passes them on to
// the providers that are registered over it.
type serving struct {
	mu      sync.Mutex
	callees []*callee // in the order in which they came; mostly one
}

// callee is one provider, with the sessions over which calls have come to it. It is
// guarded by the lock of its serving.
type callee struct {
	instance string
	abstract.Callee
	open map[*session]abstract.Receiver
}

var _ abstract.CallSource = (*RegistryClient)(nil)

// ServeCalls hands the calls that come over the connection and are for instance to c.
// It is what lets a provider be called that cannot be dialled; server.NewRpcServer
// does it.
func (r *RegistryClient) ServeCalls(instance string, c abstract.Callee) (stop func()) {
	return r.conn.wire.serving.add(instance, c)
}

// serves makes the sessions of a wire take calls.
func (w *wire) serves() {
	w.serving = new(serving)
	dispatch.On(w.dispatch, abstract.ReqRPC, func(s *session, m *message.RpcRequest) {
		if !w.serving.take(s, m.Instance, m) {
			s.unserved(m)
		}
	})
	dispatch.On(w.dispatch, abstract.ReqStream, func(s *session, m *message.StreamRequest) {
		if !w.serving.take(s, m.Instance, m) {
			s.unserved(m)
		}
	})
	dispatch.On(w.dispatch, abstract.Cancel, func(s *session, m *message.Cancel) { w.serving.tell(s, m) })
}

func (v *serving) add(instance string, c abstract.Callee) (stop func()) {
	e := &callee{instance: instance, Callee: c, open: make(map[*session]abstract.Receiver)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.callees = append(v.callees, e)
	var once sync.Once
	return func() { once.Do(func() { v.remove(e) }) }
}

func (v *serving) remove(e *callee) {
	v.mu.Lock()
	rest := make([]*callee, 0, len(v.callees))
	for _, other := range v.callees {
		if other != e {
			rest = append(rest, other)
		}
	}
	v.callees = rest
	open := e.open
	e.open = nil
	v.mu.Unlock()
	for _, receiver := range open {
		receiver.OnClose(nil)
	}
}

// take hands a request over. It returns false when it is for nobody here.
func (v *serving) take(s *session, instance string, m abstract.BaseMessage) bool {
	receiver := v.receiver(s, instance)
	if receiver == nil {
		return false
	}
	receiver.OnMessages([]abstract.BaseMessage{m})
	return true
}

// receiver returns who takes the requests for an instance that come over a session;
// an empty instance is the first one. Nil: nobody does.
func (v *serving) receiver(s *session, instance string) abstract.Receiver {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.callees {
		if instance != "" && instance != e.instance {
			continue
		}
		r := e.open[s]
		if r == nil {
			r = e.Accept(s.BaseConnection, s.judge.MaxFrame())
			e.open[s] = r
		}
		return r
	}
	return nil
}

// tell hands a CANCEL, or a message of a stream, to everybody who has got requests over the
// session: it says no more than an id, and those of one session differ.
func (v *serving) tell(s *session, m abstract.BaseMessage) {
	v.mu.Lock()
	receivers := make([]abstract.Receiver, 0, len(v.callees))
	for _, e := range v.callees {
		if r := e.open[s]; r != nil {
			receivers = append(receivers, r)
		}
	}
	v.mu.Unlock()
	for _, r := range receivers {
		r.OnMessages([]abstract.BaseMessage{m})
	}
}

// lost tells everybody that a session is gone. No request comes over it any more.
func (v *serving) lost(s *session, err error) {
	if v == nil {
		return
	}
	v.mu.Lock()
	var receivers []abstract.Receiver
	for _, e := range v.callees {
		if r := e.open[s]; r != nil {
			receivers = append(receivers, r)
			delete(e.open, s)
		}
	}
	v.mu.Unlock()
	for _, r := range receivers {
		r.OnClose(err)
	}
}
