package server

import (
	"encoding/json"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/message"
	"trefoil/concrete/schema"
)

// rule is the JSON Schema that the messages of a topic must fit. It is made ready by the
// first message, outside of every lock: that takes longer than a lock should be held.
type rule struct {
	text  json.RawMessage
	once  sync.Once
	ready *schema.Schema
	err   error
}

// ruleOf returns the rule of settings; nil: any message fits. One with the same text goes
// on.
func ruleOf(settings *abstract.TopicSettings, old *rule) *rule {
	switch {
	case settings.Schema == nil:
		return nil
	case old != nil && string(old.text) == string(settings.Schema):
		return old
	}
	return &rule{text: settings.Schema}
}

// check says what is wrong with a message. It needs no lock.
func (r *rule) check(topic string, msg message.Raw) error {
	r.once.Do(func() { r.ready, r.err = schema.Parse(r.text) })
	if r.err != nil { // another broker has taken it
		return abstract.Errorf(abstract.Unsupported, "the schema of topic %q cannot be checked by this broker; change it, or update the broker: %v", topic, publicText(r.err))
	}
	return r.ready.CheckMessage(topic, msg)
}

// judge says what is wrong with settings that somebody gives a topic, besides what can be
// seen without the broker.
func (s *TopicServer) judge(c *conn, topic string, settings *abstract.TopicSettings) error {
	if settings.Durable && s.durable == nil {
		return errNotDurable(topic)
	}
	if err := checkSchema(settings); err != nil {
		return err
	}
	return s.mayName(c, settings)
}

// checkSchema says what is wrong with the schema in settings.
func checkSchema(settings *abstract.TopicSettings) error {
	if settings.Schema == nil {
		return nil
	}
	_, err := schema.Parse(settings.Schema)
	return err
}
