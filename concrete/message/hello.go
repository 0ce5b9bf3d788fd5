package message

import "trefoil/abstract"

// ProtocolVersion is the version of the protocol that HELLO names.
const ProtocolVersion = 1

// Hello is the first message of a modern peer.
type Hello struct {
	Header
	Version  int             // "version"
	Agent    string          // "agent": name and version of the program, for logs
	MaxFrame int             // "max_frame": the longest frame the sender takes, its Length field included
	Session  *SessionRequest // "session"; nil: none is asked for
	Token    string          // "token": who the sender is, to a server that asks; a secret. Left out when empty
	Instance string          // "instance": the provider that the sender means to reach, by its own id; another one refuses. Left out when empty
	Compress []string        // "compress": the ways to compress bodies that the sender understands; left out when empty
}

// maxToken is how long a token may be.
const maxToken = 1024

// tokenPrefix is what tokens begin with, so that errors can leave them out.
const tokenPrefix = "tfl_"

// Type returns REQ_HELLO.
func (*Hello) Type() abstract.MType { return abstract.ReqHello }

// HelloResponse answers Hello. The server decides the ping interval for both.
type HelloResponse struct {
	Header
	Code     abstract.RCode
	Version  int           // "version" that both will speak
	Agent    string        // "agent"
	MaxFrame int           // "max_frame"
	PingMs   int64         // "ping_ms": either side pings when it heard nothing for this long
	Misses   int           // "misses": so many intervals of silence mean that the peer is gone
	Run      string        // "run": another one each time the server starts; left out when empty
	Message  string        // "message": the error in words; left out when empty
	Session  *SessionGrant // "session"; nil: none was asked for, or none given
	Compress []string      // "compress": as in Hello

	// RetryAfterMs is "retry_after_ms": the sender refuses the connection for now, and
	// this is when to try again. Left out when 0.
	RetryAfterMs int64
}

// Type returns RSP_HELLO.
func (*HelloResponse) Type() abstract.MType { return abstract.RspHello }

// Ping asks for a Pong with the same id. Its body is {}.
type Ping struct{ Header }

// Type returns PING.
func (*Ping) Type() abstract.MType { return abstract.Ping }

// Pong answers a Ping. Its body is {}.
type Pong struct{ Header }

// Type returns PONG.
func (*Pong) Type() abstract.MType { return abstract.Pong }

// Cancel says that who has sent the request with the same id does not want its
// answer any more. Its body is {}.
type Cancel struct{ Header }

// Type returns CANCEL.
func (*Cancel) Type() abstract.MType { return abstract.Cancel }

// Goodbye says that the sender is about to close the connection.
type Goodbye struct {
	Header
	Code   abstract.RCode // "rcode": OK for an orderly end, Draining for a shutdown
	Reason string         // "message"
}

// Type returns GOODBYE.
func (*Goodbye) Type() abstract.MType { return abstract.Goodbye }

// Unsupported answers a message whose type the receiver does not know.
type Unsupported struct {
	Header
	Code    abstract.RCode // "rcode": Unsupported
	MType   abstract.MType // "mtype": the type in question
	Message string         // "message"
}

// Type returns RSP_UNSUPPORTED.
func (*Unsupported) Type() abstract.MType { return abstract.RspUnsupported }

// Unknown is a message of a type from 16 up that we do not know.
type Unknown struct {
	Header
	T    abstract.MType
	Body Raw
}

// Type returns the number that was in the frame.
func (m *Unknown) Type() abstract.MType { return m.T }
