package server

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// deleteMessages removes single messages from what a topic keeps. Whoever may remove the
// topic may do that, unless the topic's own settings do not let him publish.
func (s *TopicServer) deleteMessages(c *conn, m *message.TopicRequest) error {
	if m.More == nil || len(m.More.Offsets) == 0 {
		return abstract.Errorf(abstract.InvalidParams, `a delete needs "offsets": those of the messages`)
	}
	s.index.Lock()
	f, err := s.feedOf(m.Topic)
	if err == nil {
		err = s.allowedOn(c, f.settings.Allow.Publish, "delete messages of", m.Topic)
	}
	s.index.Unlock()
	if err != nil {
		return err
	}
	log, err := s.ready(f)
	switch {
	case err != nil:
		return err
	case m.More.Epoch != "" && m.More.Epoch != f.epoch:
		return f.another(m.More.Epoch)
	case log == nil:
		return abstract.Errorf(abstract.InvalidOp, "topic %q keeps no messages that could be deleted", m.Topic)
	}
	return log.Delete(c.ctx, m.More.Offsets...)
}
