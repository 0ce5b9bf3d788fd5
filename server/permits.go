package server

import (
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/peer"
	"trefoil/concrete/message"
	"trefoil/concrete/stdnet"
)

// admit finds out who a peer is, by the token of its HELLO or by its certificate,
// and counts its connection. It is called once, before the peer's first message is
// handled. Existing programs show no token.
func (c *conn) admit(token string) error {
	guard := c.ep.cfg.guard
	if guard == nil || c.badge.Load() != nil {
		return nil
	}
	who, err := guard.Authenticate(access.TokenOf(token), stdnet.PeerCertificates(c.BaseConnection), time.Now())
	if err != nil {
		return err
	}
	account := guard.Account(who.Name())
	if err := account.Acquire(access.Connections); err != nil {
		return err
	}
	c.badge.Store(&badge{who, account})
	return nil
}

// badge is who a peer is, once that is known.
type badge struct {
	who     access.Identity
	account *access.Account
}

// identity is the peer's identity, in the words of the policy.
func (c *conn) identity() string {
	if b := c.badge.Load(); b != nil {
		return b.who.Name()
	}
	return access.Anonymous
}

// dismiss gives back what admit has taken.
func (c *conn) dismiss() {
	if b := c.badge.Load(); b != nil {
		b.account.Release(access.Connections)
	}
}

// expelled is why a peer may not stay; nil: it may.
func (c *conn) expelled() error {
	b := c.badge.Load()
	switch {
	case c.ep.cfg.guard == nil:
		return nil
	case b == nil:
		return c.overdue(time.Now())
	case !c.ep.cfg.guard.Valid(b.who, time.Now()):
		return abstract.Errorf(abstract.Denied, "what identity %s was proved by is not valid any more; connect with another token", b.who.Name())
	}
	return nil
}

// afford counts what a batch has cost in bytes. Its requests are refused with the
// error.
func (c *conn) afford(now time.Time) error {
	received := c.Received()
	n := received - c.paid
	c.paid = received
	b := c.badge.Load()
	if n == 0 || b == nil {
		return nil
	}
	return b.account.AcquireBytes(int(n), now)
}

// permits says whether the peer may do what a message asks for. It is asked before
// anything is looked up: a refusal does not tell what there is.
func (c *conn) permits(m abstract.BaseMessage) error {
	if c.ep.cfg.guard == nil {
		return nil
	}
	switch m := m.(type) {
	case *message.RpcRequest:
		return c.mayRequest(m)
	case *message.StreamRequest:
		return c.mayCall(m.Method)
	case *message.ServiceRequest:
		return c.permitsService(m)
	case *message.TopicRequest:
		return c.permitsTopic(m)
	case *message.NodeRequest:
		return c.permitsNode(m)
	}
	return nil
}

func (c *conn) may(v access.Verb, name string) error {
	return c.ep.cfg.guard.Check(c.identity(), v, name)
}

// permitsService is asked about every method of a batch: it is done all or not at all.
// Who reports a provider has learnt of it by discovering, and needs no more than that.
func (c *conn) permitsService(m *message.ServiceRequest) error {
	verb := access.Provide
	if m.Op == abstract.ServiceDiscover || m.Op == abstract.ServiceReport {
		verb = access.Discover
	}
	err := c.may(verb, m.Method)
	for i := 0; err == nil && i < len(m.Methods); i++ {
		err = c.may(verb, m.Methods[i])
	}
	return err
}

// permitsTopic: who may create a topic may say how it treats its messages, who may remove it
// may remove single ones, who may subscribe to it may read what it keeps and what is known
// of it, and forget consumers, and who may publish may see what waits to be published later,
// and cancel it.
func (c *conn) permitsTopic(m *message.TopicRequest) error {
	switch m.Op {
	case abstract.TopicCreate, abstract.TopicSet:
		return c.may(access.CreateTopic, m.Topic)
	case abstract.TopicRemove, abstract.TopicDelete:
		return c.may(access.RemoveTopic, m.Topic)
	case abstract.TopicPublish, abstract.TopicSend, abstract.TopicScheduled, abstract.TopicCancelScheduled:
		return c.may(access.Publish, m.Topic)
	case abstract.TopicList: // the answer has what the peer may know
		return nil
	case abstract.TopicAck: // of what it has been given
		return nil
	}
	return c.may(access.Subscribe, m.Topic)
}

func (c *conn) permitsNode(m *message.NodeRequest) error {
	for i := range m.Ops {
		if err := c.permitsAction(&m.Ops[i]); err != nil {
			return err
		}
	}
	return c.permitsAction(&m.NodeAction)
}

func (c *conn) permitsAction(a *message.NodeAction) error {
	guard, who := c.ep.cfg.guard, c.identity()
	switch a.Op {
	case abstract.NodeMulti, abstract.NodeSync, abstract.NodeUnwatch:
		return nil
	case abstract.NodeWatch:
		if a.Scope != abstract.ScopeNode {
			return c.mayReadBelow(a.Path, a.Scope)
		}
	case abstract.NodeDelete:
		if a.Recursive {
			return guard.CheckBelow(who, access.NodeWrite, a.Path)
		}
		return guard.Check(who, access.NodeWrite, a.Path)
	case abstract.NodeCreate, abstract.NodeSet:
		for path := parentOf(a.Path); a.Parents && path != "/"; path = parentOf(path) {
			if err := guard.Check(who, access.NodeWrite, path); err != nil {
				return err
			}
		}
		return guard.Check(who, access.NodeWrite, a.Path)
	}
	return c.mayRead(a.Path)
}

// parentOf is a path without its last segment; "/" when there is none.
func parentOf(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return "/"
}

// sees returns which paths the peer may read; nil: all.
func (c *conn) sees() func(path string) bool {
	if c.ep.cfg.guard == nil {
		return nil
	}
	return c.seesNode
}

// Reauthorize closes every connection, with a goodbye to peers that know it: they
// connect again and are judged anew. Call it when what its Guard goes by has changed,
// as nobody keeps a subscription, a watch or a discovery that he may not have any more.
func (b *Broker) Reauthorize() {
	for _, c := range b.ep.all() {
		c.leave(abstract.Errorf(abstract.Draining, "the permissions have changed; connect again"))
	}
}

// admission admits a peer by its first message, if that is the message.
func (c *conn) admission(m abstract.BaseMessage, v peer.Verdict) error {
	hello, greets := m.(*message.Hello)
	greets = greets && v.Close == nil
	if c.ep.cfg.guard != nil && c.badge.Load() == nil {
		token := ""
		if greets {
			token = hello.Token
		}
		if greets || v.Deliver {
			if err := c.admit(token); err != nil {
				return err
			}
		}
	}
	if greets {
		return c.ep.meant(hello.Instance) // who may not know who is here is not told
	}
	return nil
}

// turnAway answers the first message of a peer that is not admitted, and closes.
func (c *conn) turnAway(m abstract.BaseMessage, v peer.Verdict, err error) {
	c.refused = true
	if rsp, ok := v.Reply.(*message.HelloResponse); ok {
		c.reply(&message.HelloResponse{
			Header: message.ID(m.ID()), Code: abstract.CodeOf(err), Version: rsp.Version, Agent: rsp.Agent, MaxFrame: rsp.MaxFrame, Message: publicText(err),
		})
	} else {
		c.refuse(m, err)
	}
	c.finish(err)
}
