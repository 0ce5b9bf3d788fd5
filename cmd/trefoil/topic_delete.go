package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) topicDeleteCommand() *cobra.Command {
	return a.topicVerb(&settings{}, cobra.Command{
		Use: "delete TOPIC OFFSET... [flags]", Args: cobra.MinimumNArgs(2),
		Short: "Delete single messages from what a topic keeps",
		Long: "Delete single messages from what a topic keeps, for good: nobody is delivered them any\n" +
			"more. The offsets of the others stay as they are.",
		Example: "  trefoil topic delete orders 17 18",
	}, false, a.topicDelete)
}

// deletedOutput says for programs what was deleted.
type deletedOutput struct {
	Event   string   `json:"event"` // deleted
	Topic   string   `json:"topic"`
	Offsets []uint64 `json:"offsets"`
}

func (a *app) topicDelete(ctx context.Context, s *settings, args []string) error {
	offsets, err := offsetsOf(args[1:])
	if err != nil {
		return err
	}
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		info, err := t.Info(ctx, args[0])
		if err != nil {
			return topicError(ctx, t, args[0], err)
		}
		there := slices.DeleteFunc(slices.Clone(offsets), func(o uint64) bool { return o < info.First || o > info.Last })
		if len(there) > 0 {
			if err := t.Delete(ctx, args[0], there...); err != nil {
				return topicError(ctx, t, args[0], err)
			}
			if err := a.say(s, deletedOutput{"deleted", args[0], there}, "deleted %s of %s", count(len(there), "message"), printable(args[0])); err != nil {
				return err
			}
		}
		if len(there) < len(offsets) {
			return notKept(info, len(offsets)-len(there))
		}
		return nil
	})
}

// notKept is the error about so many offsets that a topic does not keep.
func notKept(info client.TopicInfo, missing int) error {
	has := "it keeps none"
	if kept(info) > 0 {
		has = fmt.Sprintf("it keeps %d to %d", info.First, info.Last)
	}
	return &plainError{fmt.Sprintf("%s does not keep %s of these: %s", info.Topic, count(missing, "offset"), has), &abstract.Error{Code: abstract.NotFound, Sent: abstract.SentYes}}
}

// offsetsOf reads offsets, and puts each in its order once.
func offsetsOf(args []string) ([]uint64, error) {
	var list []uint64
	for _, arg := range args {
		offset, err := strconv.ParseUint(strings.TrimPrefix(arg, "#"), 10, 63)
		if err != nil || offset == 0 {
			return nil, usagef("%q is no offset", arg)
		}
		list = append(list, offset)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
