package topic

import (
	"cmp"

	"trefoil/abstract"
)

// Config bounds a TopicManager. The zero value takes the defaults.
type Config struct {
	MaxTopics               int // topics in the Store; those that are being created are not counted; default 65,536
	MaxSubscriptionsPerConn int // topics that one connection subscribes to; default 4,096
	MaxTopicName            int // bytes of a topic's name; default 1,024
	MaxWildLevelsPerConn    int // levels of all filters with wildcards of one connection together; default 16,384
}

func (c Config) withDefaults() Config {
	c.MaxTopics = cmp.Or(c.MaxTopics, 65536)
	c.MaxSubscriptionsPerConn = cmp.Or(c.MaxSubscriptionsPerConn, 4096)
	c.MaxTopicName = cmp.Or(c.MaxTopicName, 1024)
	c.MaxWildLevelsPerConn = cmp.Or(c.MaxWildLevelsPerConn, 16384)
	return c
}

// checkName says what is wrong with the name of a new topic. An empty one is
// allowed: existing programs use it.
func (c *Config) checkName(name string) error {
	if len(name) > c.MaxTopicName {
		return abstract.Errorf(abstract.InvalidParams, "the topic's name has %d bytes, %d are allowed", len(name), c.MaxTopicName)
	}
	return nil
}

// CheckFilter says what is wrong with a filter; the error's code is InvalidParams. It needs
// no lock.
func (m *TopicManager) CheckFilter(filter string) error { return m.cfg.checkFilter(filter) }

func notFound(name string) error {
	return abstract.Errorf(abstract.TopicNotFound, "there is no topic %q; create it first", name)
}
