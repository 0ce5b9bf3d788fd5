package abstract

// BaseBuffer holds received bytes that no message has been made of yet. It
// belongs to one connection and is not safe for concurrent use.
//
// The bytes that Peek and Next return are never written again: a message may
// keep slices of what Next returned for as long as it lives.
type BaseBuffer interface {
	Len() int                   // how many bytes are there
	Peek(n int) ([]byte, error) // the next n bytes, still in the buffer; an error when fewer are there
	Next(n int) ([]byte, error) // the same, taken out
}

// Codec turns the body of a frame into a message and back.
// It is stateless and safe for concurrent use.
type Codec interface {
	// AppendBody appends the JSON text of m's body.
	AppendBody(dst []byte, m BaseMessage) ([]byte, error)
	// Unmarshal makes the message of a frame. The message keeps id and body.
	// A body that is no JSON object is an error: the stream cannot be trusted.
	// A JSON object in which something is missing or wrong is a message whose
	// Check says what. raw is the whole frame that body lies in, for a message
	// that is passed on as it came.
	Unmarshal(t MType, id string, body, raw []byte) (BaseMessage, error)
}

// BaseProtocol turns bytes into messages and back. It is stateless and safe for
// concurrent use; what belongs to a connection is in its BaseBuffer.
type BaseProtocol interface {
	// Decode takes the next message out of b. ok is false until a whole frame
	// is there. An error means that the stream cannot be trusted: close it.
	// Every limit is checked as soon as the bytes that show its breach are there.
	Decode(b BaseBuffer) (m BaseMessage, ok bool, err error)
	// Append appends m's frame to dst.
	Append(dst []byte, m BaseMessage) ([]byte, error)
}
