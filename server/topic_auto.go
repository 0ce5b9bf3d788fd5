package server

import (
	"encoding/json"
	"io"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// AutoTopic makes topics that are not there, when somebody publishes or subscribes to one.
type AutoTopic struct {
	Pattern  string // of names, as a filter is: "*" is one level, ">" at the end any number
	Settings abstract.TopicSettings
}

// WithAutoTopics lets topics come into being that nobody has created: who publishes or
// subscribes to one by its name gets it, with the settings of the first pattern that fits.
// It takes the permission to create it, as if it were created. Subscribing to many topics
// creates none. Nothing is created when nothing is said.
func WithAutoTopics(rules ...AutoTopic) Option {
	return func(c *config) { c.autoTopics = rules }
}

// ParseAutoTopics reads the rules of WithAutoTopics from a JSON object of patterns and
// settings, {"orders.*":{"history":{"count":100}}}: the first pattern that fits counts.
// The error's code is InvalidParams.
func ParseAutoTopics(text string) ([]AutoTopic, error) {
	d := json.NewDecoder(strings.NewReader(text))
	var rules []AutoTopic
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errAutoTopics("it is a JSON object of patterns and settings")
	}
	for d.More() {
		rule, err := readAutoTopic(d)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(rules, func(r AutoTopic) bool { return r.Pattern == rule.Pattern }) {
			return nil, errAutoTopics("the pattern %q is there twice", rule.Pattern)
		}
		rules = append(rules, rule)
	}
	if _, err := d.Token(); err != nil {
		return nil, errAutoTopics("its end is missing")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errAutoTopics("there is text behind its end")
	}
	return rules, nil
}

func readAutoTopic(d *json.Decoder) (AutoTopic, error) {
	name, err := d.Token()
	pattern, isText := name.(string)
	var raw json.RawMessage
	if err != nil || !isText || d.Decode(&raw) != nil {
		return AutoTopic{}, errAutoTopics("after %d bytes it is no JSON", d.InputOffset())
	}
	if fault := patternFault(pattern); fault != "" {
		return AutoTopic{}, errAutoTopics("the pattern %.80q %s", pattern, fault)
	}
	settings, err := message.ReadTopicSettings(raw)
	if err == nil {
		err = checkSchema(&settings)
	}
	if err != nil {
		return AutoTopic{}, errAutoTopics("under %.80q: %s", pattern, publicText(err))
	}
	return AutoTopic{pattern, settings}, nil
}

// patternFault is what is wrong with a pattern, in words that follow it; empty: nothing.
func patternFault(pattern string) string {
	levels := strings.Split(pattern, ".")
	for i, level := range levels {
		switch {
		case level == "":
			return "has an empty level"
		case level == ">" && i < len(levels)-1:
			return `has ">" before its end; it stands for the rest, and comes last`
		case level != "*" && level != ">" && strings.ContainsAny(level, "*>"):
			return "has a wildcard inside of a level; it stands for a whole one"
		}
	}
	return ""
}

func errAutoTopics(format string, args ...any) error {
	return abstract.Errorf(abstract.InvalidParams, "the topics that are created by themselves: "+format, args...)
}

// makeAuto makes a topic that is not there, if a rule says so, for who wants to use it;
// made: it is there now. It returns why the topic cannot be used.
func (s *TopicServer) makeAuto(c *conn, name string, missing error) (made bool, err error) {
	rule := s.autoFor(name, missing)
	if rule == nil {
		return false, missing
	}
	if c.ep.cfg.guard != nil {
		if err := c.may(access.CreateTopic, name); err != nil {
			return false, err
		}
	}
	if err := s.judge(c, name, &rule.Settings); err != nil {
		return false, err
	}
	settings := rule.Settings
	err = s.change(func() (abstract.Txn, error) {
		if _, there := s.topics.Topic(name); there { // whoever has made it, and however
			return abstract.Txn{}, nil
		}
		return s.topics.PlanCreate(name, topic.Draft{Epoch: newEpoch(), Settings: &settings})
	})
	return err == nil, err
}

// autoFor returns the rule that makes a topic that is missing; nil: none does.
func (s *TopicServer) autoFor(name string, missing error) *AutoTopic {
	rules := s.ep.cfg.autoTopics
	if len(rules) == 0 || abstract.CodeOf(missing) != abstract.TopicNotFound || topic.IsWild(name) {
		return nil
	}
	for i := range rules {
		if topic.Match(rules[i].Pattern, name) {
			return &rules[i]
		}
	}
	return nil
}

// publishAuto serves a publish to a topic that is not there. It is served once more when
// the topic could be made.
func (s *TopicServer) publishAuto(t *turn, m *message.TopicRequest, missing error) {
	if s.autoFor(m.Topic, missing) == nil {
		t.conn.refuse(m, missing)
		return
	}
	if t.later(m, !s.index.store.Instant()) {
		return
	}
	if made, err := s.makeAuto(t.conn, m.Topic, missing); !made {
		t.conn.refuse(m, err)
		return
	}
	s.index.Lock()
	f, err := s.feedOf(m.Topic)
	s.index.Unlock()
	if err != nil { // it was removed at once
		t.conn.refuse(m, err)
		return
	}
	s.publishChecked(t, f, m)
}
