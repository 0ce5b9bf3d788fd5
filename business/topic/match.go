package topic

import (
	"strings"

	"trefoil/abstract"
)

// A filter is a topic's name, or names many topics: names and filters are levels
// separated by dots, and in a filter the level "*" stands for any one level, and a last
// level ">" for one or more.
const (
	levels  = "."
	anyOne  = "*"
	anyRest = ">"
)

// IsWild reports whether a filter names more than one topic.
func IsWild(filter string) bool {
	if !strings.ContainsAny(filter, anyOne+anyRest) {
		return false
	}
	for level := range strings.SplitSeq(filter, levels) {
		if level == anyOne {
			return true
		}
	}
	return filter == anyRest || strings.HasSuffix(filter, levels+anyRest)
}

// checkFilter says what is wrong with a filter.
func (c *Config) checkFilter(filter string) error {
	if err := c.checkName(filter); err != nil {
		return err
	}
	if n := levelsOf(filter); n > maxLevels {
		return abstract.Errorf(abstract.InvalidParams, "a filter has at most %d levels, and this one has %d", maxLevels, n)
	}
	return nil
}

func levelsOf(filter string) int { return strings.Count(filter, levels) + 1 }

// maxLevels bounds how deep the index of wildcards is.
const maxLevels = 64

// Match reports whether a subscription with this filter gets what is published to
// a topic. It is the one place that says so: the index of TopicManager is a faster way
// to the same answer, and its tests hold the two together.
func Match(filter, topic string) bool {
	if !IsWild(filter) {
		return filter == topic
	}
	for {
		f, moreFilter, deeper := strings.Cut(filter, levels)
		t, moreTopic, longer := strings.Cut(topic, levels)
		switch {
		case f == anyRest && !deeper:
			return true
		case f != anyOne && f != t, deeper != longer:
			return false
		case !deeper:
			return true
		}
		filter, topic = moreFilter, moreTopic
	}
}
