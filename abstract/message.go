package abstract

import (
	"fmt"
	"net"
	"strconv"
)

// BaseMessage is one message of the protocol, decoded as far as its envelope.
// A message is never changed after it was decoded or sent, so it may be shared
// between goroutines.
type BaseMessage interface {
	Type() MType  // what kind of message this is
	ID() string   // pairs a response with its request; opaque bytes
	Check() error // the first thing wrong with the message, or nil; an *Error whose Code answers it
}

// MType is the kind of a message. Its number is on the wire. 0 to 5 are those of
// the existing LV family; 16 and up are ours and only go to peers that said HELLO.
type MType int32

// The message types.
const (
	ReqRPC     MType = 0 // a call
	RspRPC     MType = 1 // its answer
	ReqTopic   MType = 2 // create, remove, subscribe, cancel, publish; also the push to a subscriber
	RspTopic   MType = 3 // its answer; a push has none
	ReqService MType = 4 // register, discover, unregister; also the notices online and offline
	RspService MType = 5 // its answer; a notice has none

	ReqHello       MType = 16 // the first frame of a modern peer
	RspHello       MType = 17 // its answer: the server's limits and ping interval
	Ping           MType = 18 // asks for a Pong with the same id
	Pong           MType = 19 // answers a Ping
	Goodbye        MType = 20 // notice: the sender closes, and why
	RspUnsupported MType = 21 // answers a message type that the receiver does not know
	Gap            MType = 22 // notice: a subscription lost this many messages
	Cancel         MType = 23 // notice: the caller of the request with the same id has given up

	ReqNode   MType = 32 // an operation on the node tree, or a watch
	RspNode   MType = 33 // its answer
	NodeEvent MType = 34 // notice: what one revision changed in a watched part of the tree

	ReqStream    MType = 40 // opens a stream of messages, under its id
	StreamData   MType = 41 // one message of the stream with the same id, either way
	StreamCredit MType = 42 // the receiver has room for so much more
	StreamEnd    MType = 43 // the sender sends nothing more; from the server also how the stream ended
)

var mtypeNames = map[MType]string{
	ReqRPC: "REQ_RPC", RspRPC: "RSP_RPC", ReqTopic: "REQ_TOPIC", RspTopic: "RSP_TOPIC",
	ReqService: "REQ_SERVICE", RspService: "RSP_SERVICE", ReqHello: "REQ_HELLO", RspHello: "RSP_HELLO",
	Ping: "PING", Pong: "PONG", Goodbye: "GOODBYE", RspUnsupported: "RSP_UNSUPPORTED", Gap: "GAP", Cancel: "CANCEL",
	ReqNode: "REQ_NODE", RspNode: "RSP_NODE", NodeEvent: "NODE_EVENT",
	ReqStream: "REQ_STREAM", StreamData: "STREAM_DATA", StreamCredit: "STREAM_CREDIT", StreamEnd: "STREAM_END",
}

// String returns the design's word for t, such as "REQ_RPC".
func (t MType) String() string {
	if s, ok := mtypeNames[t]; ok {
		return s
	}
	return "MTYPE_" + strconv.Itoa(int(t))
}

// Legacy reports whether t is one of the six types that a peer without HELLO knows.
func (t MType) Legacy() bool { return t >= ReqRPC && t <= RspService }

// OnWire reports whether t may appear in a frame at all: one of the six legacy
// types, or a number from 16 up, known to us or not.
func (t MType) OnWire() bool { return t.Legacy() || t >= ReqHello }

// Response reports whether t answers a request and so carries that request's id.
func (t MType) Response() bool {
	switch t {
	case RspRPC, RspTopic, RspService, RspHello, Pong, RspUnsupported, RspNode:
		return true
	}
	return false
}

// Class is the order in which a connection writes what is queued: a lower class
// goes first. Order is kept inside a class, not between classes.
type Class uint8

// The write classes.
const (
	ClassControl  Class = iota // hello, ping, goodbye, cancel, registry messages
	ClassResponse              // responses to calls and to node operations
	ClassRequest               // calls and node operations
	ClassStream                // what goes over streams, their openings and ends included
	ClassTopic                 // everything of topics, responses included, and events of watched nodes
	Classes                    // how many there are
)

// ClassOf returns the write class of a message type.
func ClassOf(t MType) Class {
	switch t {
	case RspRPC, RspNode:
		return ClassResponse
	case ReqRPC, ReqNode:
		return ClassRequest
	case ReqStream, StreamData, StreamEnd:
		return ClassStream
	case ReqTopic, RspTopic, Gap, NodeEvent:
		return ClassTopic
	}
	return ClassControl
}

// TopicOp is what a REQ_TOPIC asks for, its "optype".
type TopicOp int32

// The topic operations.
const (
	TopicCreate    TopicOp = 0
	TopicRemove    TopicOp = 1
	TopicSubscribe TopicOp = 2
	TopicCancel    TopicOp = 3
	TopicPublish   TopicOp = 4

	// These only come from modern peers.
	TopicSet    TopicOp = 16 // changes the settings of a topic
	TopicInfo   TopicOp = 17 // asks for settings, offsets, subscribers and consumers
	TopicList   TopicOp = 18 // asks for the names of topics
	TopicAck    TopicOp = 19 // ends, gives back or extends deliveries; not answered
	TopicSend   TopicOp = 20 // publishes, and is not answered
	TopicRead   TopicOp = 21 // asks for messages that are kept, from an offset
	TopicForget TopicOp = 22 // removes a durable consumer
	TopicDelete TopicOp = 23 // removes single messages that are kept

	TopicScheduled       TopicOp = 24 // asks for messages that wait to be published later
	TopicCancelScheduled TopicOp = 25 // takes one of these back
)

// String returns the operation's word.
func (o TopicOp) String() string {
	if o >= TopicSet {
		return opName(int(o-TopicSet), "set", "info", "list", "ack", "send", "read", "forget", "delete", "scheduled", "cancel_scheduled")
	}
	return opName(int(o), "create", "remove", "subscribe", "cancel", "publish")
}

// Valid reports whether o is a known operation.
func (o TopicOp) Valid() bool {
	return o >= TopicCreate && o <= TopicPublish || o >= TopicSet && o <= TopicCancelScheduled
}

// Publishes says whether a request of this operation carries a message.
func (o TopicOp) Publishes() bool { return o == TopicPublish || o == TopicSend }

// ServiceOp is what a REQ_SERVICE says, its "optype".
type ServiceOp int32

// The service operations. Offline has two meanings by direction: from the
// registry it is the notice that a provider left, from a modern provider it is
// the request to unregister.
const (
	ServiceRegister   ServiceOp = 0
	ServiceDiscover   ServiceOp = 1
	ServiceOnline     ServiceOp = 2
	ServiceOffline    ServiceOp = 3
	ServiceUnregister           = ServiceOffline
	ServiceUnknown    ServiceOp = 4 // what an invalid operation is answered with

	// These only come from modern peers.
	ServiceHeartbeat ServiceOp = 16 // renews registrations that asked for a time to live
	ServiceReport    ServiceOp = 17 // the sender could not reach a provider
)

// Valid reports whether o is a known operation or notice.
func (o ServiceOp) Valid() bool {
	return o >= ServiceRegister && o <= ServiceOffline || o == ServiceHeartbeat || o == ServiceReport
}

// String returns the operation's word.
func (o ServiceOp) String() string {
	switch o {
	case ServiceHeartbeat:
		return "heartbeat"
	case ServiceReport:
		return "report"
	}
	return opName(int(o), "register", "discover", "online", "offline", "unknown")
}

// NodeOp is what a REQ_NODE asks for, its "op".
type NodeOp string

// The node operations. A multi is made of creates, sets, deletes and checks.
const (
	NodeCreate  NodeOp = "create"
	NodeGet     NodeOp = "get"
	NodeSet     NodeOp = "set"
	NodeDelete  NodeOp = "delete"
	NodeList    NodeOp = "ls"
	NodeStat    NodeOp = "stat"
	NodeExists  NodeOp = "exists"
	NodeMulti   NodeOp = "multi"
	NodeCheck   NodeOp = "check" // changes nothing, and fails when the node is not as it says
	NodeWatch   NodeOp = "watch"
	NodeUnwatch NodeOp = "unwatch"
	NodeSync    NodeOp = "sync" // reads made after its answer see what anybody was acknowledged before it
)

// Valid reports whether o is a known operation.
func (o NodeOp) Valid() bool {
	switch o {
	case NodeCreate, NodeGet, NodeSet, NodeDelete, NodeList, NodeStat, NodeExists,
		NodeMulti, NodeCheck, NodeWatch, NodeUnwatch, NodeSync:
		return true
	}
	return false
}

// InMulti reports whether o may be one of the operations of a multi.
func (o NodeOp) InMulti() bool {
	switch o {
	case NodeCreate, NodeSet, NodeDelete, NodeCheck:
		return true
	}
	return false
}

// NodeScope is how much of the tree a watch is about.
type NodeScope string

// The scopes.
const (
	ScopeNode     NodeScope = "node"     // the node itself: created, set, deleted
	ScopeChildren NodeScope = "children" // its direct children: created, set, deleted
	ScopeSubtree  NodeScope = "subtree"  // the node and everything below it
)

// Valid reports whether s is a known scope.
func (s NodeScope) Valid() bool {
	return s == ScopeNode || s == ScopeChildren || s == ScopeSubtree
}

func opName(i int, names ...string) string {
	if i >= 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("optype %d", i)
}

// Host is where a provider listens.
type Host struct {
	IP   string // an address or a host name, without the port
	Port int    // 1 to 65535
}

// String returns "ip:port", with brackets round an IPv6 address: what a dialer takes.
func (h Host) String() string { return net.JoinHostPort(h.IP, strconv.Itoa(h.Port)) }

// ParseHost splits "ip:port". The port must be 1 to 65535.
func ParseHost(addr string) (Host, error) {
	ip, p, err := net.SplitHostPort(addr)
	if err != nil {
		return Host{}, &Error{Code: InvalidParams, Op: "parse host", Message: fmt.Sprintf("%q is not of the form host:port", addr), Err: err}
	}
	port, err := strconv.Atoi(p)
	if err != nil || port < 1 || port > 65535 {
		return Host{}, &Error{Code: InvalidParams, Op: "parse host", Message: fmt.Sprintf("port %q of %q is not a number from 1 to 65535", p, addr)}
	}
	return Host{IP: ip, Port: port}, nil
}
