package message

import "trefoil/abstract"

// TopicRequest asks for a topic operation, and is the push to a subscriber.
type TopicRequest struct {
	Header
	Op      abstract.TopicOp
	Topic   string // "topic_key"; may be empty, but not missing
	Message Raw    // "topic_msg", any JSON value; only for publish

	Meta abstract.Metadata // "meta": words beside the message, only for publish; left out when empty
}

// Type returns REQ_TOPIC.
func (*TopicRequest) Type() abstract.MType { return abstract.ReqTopic }

// TopicResponse answers a topic operation.
type TopicResponse struct {
	Header
	Code    abstract.RCode
	Message string // "message": the error in words; left out when empty
}

// Type returns RSP_TOPIC.
func (*TopicResponse) Type() abstract.MType { return abstract.RspTopic }

// GapNotice tells a subscriber that messages of a topic were dropped, because it
// did not read fast enough, right before the next message that was not.
type GapNotice struct {
	Header
	Topic  string // "topic_key"
	Missed uint64 // "missed": how many since the last notice
}

// Type returns GAP.
func (*GapNotice) Type() abstract.MType { return abstract.Gap }
