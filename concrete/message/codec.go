package message

import "trefoil/abstract"

// Config bounds what a Codec takes. The zero value takes the defaults.
type Config struct {
	MaxDepth  int // nesting of arrays and objects, the body itself included; default 128
	MaxMethod int // bytes of a method's name; default 256
	MaxTopic  int // bytes of a topic's name; default 1024

	Pushes *Pushes // memory for the topic requests that Unmarshal makes; nil: each has its own
}

// Codec turns bodies into messages and back. It is stateless and safe for
// concurrent use, but for the memory that Config.Pushes gives it. Members that it does not know are passed over.
type Codec struct{ cfg Config }

var _ abstract.Codec = (*Codec)(nil)

// New makes a Codec.
func New(cfg Config) *Codec {
	if cfg.MaxDepth <= 0 {
		cfg.MaxDepth = 128
	}
	if cfg.MaxMethod <= 0 {
		cfg.MaxMethod = 256
	}
	if cfg.MaxTopic <= 0 {
		cfg.MaxTopic = 1024
	}
	return &Codec{cfg}
}

// Unmarshal makes the message of a frame. The message keeps id, body and raw,
// and its strings and Raws alias body, so these must not be changed any more. A
// body that is not exactly one JSON object is an error with code ParseFailed.
// What is missing or wrong in an object is told by the message's Check; fields
// that are wrong are zero then. A type that is not known makes an *Unknown.
func (c *Codec) Unmarshal(t abstract.MType, id string, body, raw []byte) (abstract.BaseMessage, error) {
	e := envelope{cfg: c.cfg, head: Header{id: id, frame: raw}, body: body}
	if m := e.message(t); m != nil {
		return m, nil
	}
	shown := ", and begins " + excerpt(body)
	if t == abstract.ReqHello || t == abstract.RspHello {
		shown = "" // tokens and secrets are in it
	}
	return nil, abstract.Errorf(abstract.ParseFailed, "the body of a %s must be one JSON object, with nothing before or after it%s", t, shown)
}
