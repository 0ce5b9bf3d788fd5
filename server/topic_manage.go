package server

import (
	"context"
	"encoding/json"
	"slices"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// create makes a topic. Whoever names settings is refused when the topic is there with
// others.
func (s *TopicServer) create(c *conn, m *message.TopicRequest) error {
	d := topic.Draft{Epoch: newEpoch()}
	if m.More != nil && m.More.Settings != nil {
		settings, err := message.ReadTopicSettings(m.More.Settings)
		if err != nil {
			return err
		}
		if err := s.judge(c, m.Topic, &settings); err != nil {
			return err
		}
		d.Settings = &settings
	}
	return s.change(func() (abstract.Txn, error) { return s.topics.PlanCreate(m.Topic, d) })
}

// set changes the settings of a topic, all of them.
func (s *TopicServer) set(c *conn, m *message.TopicRequest) error {
	if m.More == nil || m.More.Settings == nil {
		return abstract.Errorf(abstract.InvalidParams, `a change of a topic needs its new "settings"; {} for a plain one`)
	}
	settings, err := message.ReadTopicSettings(m.More.Settings)
	if err == nil {
		err = s.judge(c, m.Topic, &settings)
	}
	if err != nil {
		return err
	}
	if err := s.change(func() (abstract.Txn, error) { return s.topics.PlanSet(m.Topic, settings) }); err != nil {
		return err
	}
	s.index.Lock()
	defer s.index.Unlock()
	info, ok := s.topics.Topic(m.Topic)
	if !ok || string(message.WriteTopicSettings(info.Settings)) != string(message.WriteTopicSettings(settings)) {
		return abstract.Errorf(abstract.Conflict, "topic %q was changed or removed by somebody else at the same time; look at it, and try again", m.Topic)
	}
	return nil
}

// forgetRemoved lets go of what is kept of topics that a change has removed.
func (s *TopicServer) forgetRemoved(change abstract.Change) {
	for name := range topic.Names(change) {
		f := s.feeds[name]
		if f == nil {
			continue
		}
		if info, ok := s.topics.Topic(name); !ok || info.Created != f.created {
			s.endFeed(f)
		}
	}
}

// topicInfo is the answer to info.
type topicInfo struct {
	Topic       string          `json:"topic"`
	Epoch       string          `json:"epoch"`
	Settings    json.RawMessage `json:"settings"`
	First       uint64          `json:"first"`
	Last        uint64          `json:"last"`
	Subscribers int             `json:"subscribers"`
	Later       int             `json:"later,omitempty"`
	Groups      []groupInfo     `json:"groups,omitempty"`
	Present     []presence      `json:"present,omitempty"`
	Consumers   []consumerInfo  `json:"consumers,omitempty"`
}

type groupInfo struct {
	Group   string `json:"group"`
	Members int    `json:"members"`
	Waiting int    `json:"waiting"`
	Resting int    `json:"resting,omitempty"`
	Failed  uint64 `json:"failed,omitempty"`
}

// maxPresent bounds how many subscribers, and groups, an answer names.
const maxPresent = 1000

func (s *TopicServer) info(c *conn, m *message.TopicRequest) (*message.TopicResponse, error) {
	s.index.Lock()
	f, err := s.feedOf(m.Topic)
	if err == nil && !s.shows(c, m.Topic) {
		err = s.allowedOn(c, f.settings.Allow.Subscribe, "ask about", m.Topic)
	}
	s.index.Unlock()
	if err != nil {
		return nil, err
	}
	log, err := s.ready(f)
	if err != nil {
		return nil, err
	}
	f.order.Lock()
	_, rsp, err := s.beginning(f, &none)
	first, last := f.last+1, f.last
	if err == nil && log != nil {
		first, last, err = log.Bounds(context.Background())
	}
	f.order.Unlock()
	if err != nil {
		return nil, err
	}
	consumers, err := s.consumersOf(f, log)
	if err != nil {
		return nil, err
	}
	s.index.Lock()
	subs, _ := s.topics.Publish(f.name)
	all := s.topics.Others(slices.Clone(subs), f.name)
	info := topicInfo{
		Topic: f.name, Epoch: f.epoch, Settings: message.WriteTopicSettings(f.settings), First: first, Last: last, Subscribers: len(all),
		Later: f.later.waiting(), Consumers: consumers,
	}
	for _, sub := range all {
		if to := sub.Lane.(*subscriber); f.settings.Presence && !to.legacy && len(info.Present) < maxPresent {
			info.Present = append(info.Present, to.presence())
		}
	}
	for k, g := range s.groups {
		if len(info.Groups) < maxPresent && topic.Match(k.filter, f.name) {
			info.Groups = append(info.Groups, g.info())
		}
	}
	s.index.Unlock()
	rsp.Info, err = message.Encode(info)
	return rsp, err
}

// maxListed is how many names an answer to list has at most.
const maxListed = 1000

// list answers with the names that a filter names, those behind the name in "sub" only, and
// that the asker may know.
func (s *TopicServer) list(c *conn, m *message.TopicRequest) (*message.TopicResponse, error) {
	filter, after, most := m.Topic, "", maxListed
	if filter == "" {
		filter = ">"
	}
	if m.More != nil {
		after = m.More.Sub
		if m.More.Most > 0 {
			most = min(most, m.More.Most)
		}
	}
	if err := s.topics.CheckFilter(filter); err != nil {
		return nil, err
	}
	s.index.Lock()
	names := s.topics.Topics(filter, after)
	s.index.Unlock()
	slices.Sort(names)
	raw, err := message.Encode(s.shown(c, names, most))
	return &message.TopicResponse{Info: raw}, err
}

// shown are the first names, and at most so many, that the asker may know of topics that are
// still there.
func (s *TopicServer) shown(c *conn, names []string, most int) []string {
	list := make([]string, 0, min(len(names), most))
	for part := range slices.Chunk(names, maxListed) {
		s.index.Lock()
		for _, name := range part {
			if len(list) < most && s.shows(c, name) {
				list = append(list, name)
			}
		}
		s.index.Unlock()
		if len(list) == most {
			break
		}
	}
	return list
}

// kept is one message of the answer to read.
type kept struct {
	Offset  uint64          `json:"offset"`
	TimeMs  int64           `json:"time_ms"`
	ID      string          `json:"msg_id,omitempty"`
	Message json.RawMessage `json:"topic_msg"`

	Meta abstract.Metadata `json:"meta,omitempty"`
}

const (
	maxRead      = 1000
	maxReadBytes = 1 << 20
)

// read answers with messages that a topic keeps, from an offset on.
func (s *TopicServer) read(c *conn, m *message.TopicRequest) (*message.TopicResponse, error) {
	s.index.Lock()
	f, err := s.feedOf(m.Topic)
	if err == nil {
		err = s.allowedOn(c, f.settings.Allow.Subscribe, "read", m.Topic)
	}
	s.index.Unlock()
	if err != nil {
		return nil, err
	}
	x := m.More
	if x == nil {
		x = &none
	}
	log, err := s.ready(f)
	if err != nil {
		return nil, err
	}
	f.order.Lock()
	begin, rsp, err := s.beginning(f, x)
	f.order.Unlock()
	if err != nil || log == nil {
		return rsp, err
	}
	most := maxRead
	if x.Most > 0 {
		most = min(most, x.Most)
	}
	entries, err := log.Read(c.ctx, begin, most, min(maxReadBytes, c.judge.MaxFrame()/2))
	if err != nil {
		return nil, err
	}
	list := make([]kept, 0, len(entries))
	for _, e := range entries {
		decoded, err := s.ep.protocol.DecodeFrame(e.Data)
		if req, ok := decoded.(*message.TopicRequest); ok && err == nil {
			list = append(list, kept{Offset: e.Offset, TimeMs: e.Time.UnixMilli(), ID: idOf(req), Message: req.Message, Meta: req.Meta})
		}
	}
	rsp.Info, err = message.Encode(list)
	return rsp, err
}
