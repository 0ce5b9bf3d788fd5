package main

import (
	"context"
	"fmt"
	"strconv"

	"trefoil/client"
)

// keptOffsets are those of the messages that a topic keeps.
type keptOffsets struct {
	First uint64 `json:"first"` // Last+1: none is kept
	Last  uint64 `json:"last"`  // 0: none was published
}

// missedStart is a topic's answer to an offset to begin with that it does not have.
type missedStart struct {
	offset uint64
	kept   keptOffsets
}

// missingStart looks whether a topic has the offset that --from names; nil: it has, or does
// not say, or --from names none.
func missingStart(ctx context.Context, t *client.TopicClient, name, from string) *missedStart {
	offset, err := strconv.ParseUint(from, 10, 63)
	if err != nil {
		return nil
	}
	info, err := t.Info(ctx, name)
	if err != nil || offset >= info.First && offset <= info.Last+1 {
		return nil
	}
	return &missedStart{offset, keptOffsets{info.First, info.Last}}
}

// in says for people what there is in place of the offset.
func (m *missedStart) in(topic string) string {
	none := m.kept.First > m.kept.Last
	switch {
	case m.kept.Last == 0:
		return fmt.Sprintf("%s has no offset %d: nothing was published yet; what comes is shown", topic, m.offset)
	case m.offset > m.kept.Last:
		return fmt.Sprintf("%s has no offset %d yet: the last one is %d; what comes is shown", topic, m.offset, m.kept.Last)
	case none:
		return fmt.Sprintf("%s does not keep offset %d any more, nor any other up to the last one, %d; what comes is shown", topic, m.offset, m.kept.Last)
	}
	return fmt.Sprintf("%s does not keep offset %d any more: it has %d to %d, which are shown from %[3]d on", topic, m.offset, m.kept.First, m.kept.Last)
}
