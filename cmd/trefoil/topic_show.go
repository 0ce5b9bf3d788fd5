package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/cmd/trefoil/internal/config"
	"trefoil/concrete/message"
)

func (a *app) topicListCommand() *cobra.Command {
	return a.topicVerb(&settings{}, cobra.Command{
		Use: "ls [FILTER] [flags]", Args: cobra.MaximumNArgs(1),
		Short: "List the topics that a filter names, or all",
		Long: "List the topics that a filter names, or all: the offset of the last message, how many\n" +
			"messages are kept, how many subscribe, and the settings. In a filter * is any one level\n" +
			"of a name, > at its end any number of them: 'orders.*', 'orders.>'.",
	}, false, a.topicList)
}

// askedAtOnce is how many topics are asked about at the same time.
const askedAtOnce = 32

func (a *app) topicList(ctx context.Context, s *settings, args []string) error {
	filter := ">"
	if len(args) == 1 {
		filter = args[0]
	}
	var shown int
	err := a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		names, err := topicsNamed(ctx, t, filter)
		if err != nil {
			return err
		}
		shown = len(names)
		if s.topic.names {
			return a.showNames(s, names)
		}
		infos, err := infosOf(ctx, t, names)
		if err != nil {
			return err
		}
		return a.showTopics(s, infos)
	})
	switch {
	case err != nil || shown > 0 || s.json:
	case len(args) == 0:
		fmt.Fprintln(a.stderr, "there is no topic that may be seen here; 'trefoil topic create' makes one")
	default:
		fmt.Fprintf(a.stderr, "no topic that may be seen here is named by %s\n", oneLine(filter))
	}
	return err
}

func topicsNamed(ctx context.Context, t *client.TopicClient, filter string) (names []string, err error) {
	for name, err := range t.List(ctx, filter) {
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// infosOf asks about many topics. Those that are gone meanwhile are left out.
func infosOf(ctx context.Context, t *client.TopicClient, names []string) ([]client.TopicInfo, error) {
	all, errs := make([]client.TopicInfo, len(names)), make([]error, len(names))
	var asking sync.WaitGroup
	for w := range min(askedAtOnce, len(names)) {
		asking.Go(func() {
			for i := w; i < len(names); i += askedAtOnce {
				all[i], errs[i] = t.Info(ctx, names[i])
			}
		})
	}
	asking.Wait()
	infos := all[:0]
	for i, err := range errs {
		if errors.Is(err, abstract.ErrTopicNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, all[i])
	}
	return infos, nil
}

func (a *app) showNames(s *settings, names []string) error {
	for _, name := range names {
		if err := a.say(s, struct {
			Topic string `json:"topic"`
		}{name}, "%s", printable(name)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showTopics(s *settings, infos []client.TopicInfo) error {
	if s.json {
		for _, info := range infos {
			if err := writeJSON(a.stdout, newTopicInfoOutput(info)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(infos) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TOPIC\tLAST\tKEPT\tSUBSCRIBERS\tSETTINGS")
	for _, info := range infos {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\n", oneLine(info.Topic), info.Last, kept(info), info.Subscribers, oneLine(settingsInShort(info.Settings)))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// kept is how many messages a topic keeps, at most: some may have been deleted.
func kept(info client.TopicInfo) uint64 { return info.Last + 1 - min(info.First, info.Last+1) }

// settingsInShort are a topic's settings as the flags that make them.
func settingsInShort(s abstract.TopicSettings) string {
	var words []string
	add := func(on bool, format string, args ...any) {
		if on {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(s.Durable, "durable")
	add(s.History.Count > 0, "history %d", s.History.Count)
	add(s.History.Bytes > 0, "history-bytes %s", config.Size(s.History.Bytes))
	add(s.History.Age > 0, "history-age %s", config.FormatDuration(s.History.Age))
	add(s.Retain, "retain")
	add(s.Slow != abstract.SlowDropOldest, "slow %s", s.Slow)
	add(s.TTL > 0, "ttl %s", config.FormatDuration(s.TTL))
	add(s.MaxBytes > 0, "max-size %s", config.Size(s.MaxBytes))
	add(s.Schema != nil, "schema")
	add(s.Dedup > 0, "dedup %s", config.FormatDuration(s.Dedup))
	add(s.Presence, "presence")
	add(len(s.Allow.Publish) > 0, "allow-publish %s", strings.Join(s.Allow.Publish, ","))
	add(len(s.Allow.Subscribe) > 0, "allow-subscribe %s", strings.Join(s.Allow.Subscribe, ","))
	add(s.MaxDeliver > 0, "max-deliver %d", s.MaxDeliver)
	add(s.AckWait > 0, "ack-wait %s", config.FormatDuration(s.AckWait))
	add(s.DeadLetter != "", "dead-letter %s", s.DeadLetter)
	if len(words) == 0 {
		return "plain"
	}
	return strings.Join(words, ", ")
}

func (a *app) topicInfoCommand() *cobra.Command {
	return a.topicVerb(&settings{}, cobra.Command{
		Use: "info NAME [flags]", Args: cobra.ExactArgs(1),
		Short: "Print a topic's settings in words, what it keeps, and who is subscribed",
	}, false, a.topicInfo)
}

func (a *app) topicInfo(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		info, err := t.Info(ctx, args[0])
		if err != nil {
			return topicError(ctx, t, args[0], err)
		}
		if s.json {
			return writeJSON(a.stdout, newTopicInfoOutput(info))
		}
		if _, err := fmt.Fprint(a.stdout, topicInWords(info)); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		return nil
	})
}

// topicInfoOutput is a topic for programs.
type topicInfoOutput struct {
	Topic       string                `json:"topic"`
	Epoch       string                `json:"epoch"`
	Settings    message.Raw           `json:"settings"` // as on the wire
	First       uint64                `json:"first"`
	Last        uint64                `json:"last"`
	Kept        uint64                `json:"kept"`
	Later       int                   `json:"later,omitempty"` // published, and not delivered yet
	Subscribers int                   `json:"subscribers"`
	Groups      []client.GroupInfo    `json:"groups,omitempty"`
	Consumers   []client.ConsumerInfo `json:"consumers,omitempty"`
	Present     []client.Presence     `json:"present,omitempty"`
}

func newTopicInfoOutput(info client.TopicInfo) topicInfoOutput {
	return topicInfoOutput{
		Topic: info.Topic, Epoch: info.Epoch, Settings: message.WriteTopicSettings(info.Settings), First: info.First, Last: info.Last, Kept: kept(info),
		Later: info.Later, Subscribers: info.Subscribers, Groups: info.Groups, Consumers: info.Consumers, Present: info.Present,
	}
}

// topicInWords is a topic for people.
func topicInWords(info client.TopicInfo) string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString("  " + oneLine(fmt.Sprintf(format, args...)) + "\n") }
	fmt.Fprintf(&b, "%s\n", oneLine(info.Topic))
	for _, words := range settingsInWords(info.Topic, info.Settings) {
		line("%s", words)
	}
	b.WriteString("\nmessages\n")
	switch n := kept(info); {
	case info.Last == 0:
		line("none yet")
	case n == 0:
		line("the last one had offset %d; none is kept", info.Last)
	default:
		line("%s kept: offsets %d to %d", count(int(n), "message"), info.First, info.Last)
	}
	if info.Later > 0 {
		line("%s for later", count(info.Later, "message"))
	}
	line("offsets count in incarnation %s", info.Epoch)
	b.WriteString("\nsubscribers\n")
	line("%d", info.Subscribers)
	for _, g := range info.Groups {
		line("%s", groupInWords(g))
	}
	for _, c := range info.Consumers {
		line("%s", consumerInWords(c))
	}
	for _, p := range info.Present {
		line("%s", presentInWords(p))
	}
	return b.String()
}

// groupInWords is how a queue group is.
func groupInWords(g client.GroupInfo) string {
	text := fmt.Sprintf("group %s: %s, %s waiting", g.Group, count(g.Members, "member"), count(g.Waiting, "message"))
	if g.Resting > 0 {
		text += fmt.Sprintf(", %d resting after a failure", g.Resting)
	}
	if g.Failed > 0 {
		text += fmt.Sprintf(", %d dropped after too many", g.Failed)
	}
	return text
}

// presentInWords is somebody who is subscribed.
func presentInWords(p client.Presence) string {
	text := p.Peer
	if p.Identity != "" {
		text += ", identity " + p.Identity
	}
	if p.Group != "" {
		text += ", group " + p.Group
	}
	return text
}

// count is a number of things: "1 member", "2 members".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// bytesInWords is a size with its unit.
func bytesInWords(n int64) string {
	text := config.Size(n).String()
	if strings.TrimLeft(text, "0123456789") == "" {
		return text + " bytes"
	}
	return text
}

// settingsInWords says in sentences what a topic does with its messages.
func settingsInWords(name string, s abstract.TopicSettings) []string {
	list := []string{keepsInWords(s), slowInWords(s)}
	add := func(on bool, format string, args ...any) {
		if on {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	add(s.Retain, "whoever subscribes gets the last message first")
	add(s.TTL > 0, "messages older than %s are not delivered", config.FormatDuration(s.TTL))
	add(s.MaxBytes > 0, "a message has %s at most", bytesInWords(int64(s.MaxBytes)))
	add(s.Schema != nil, "messages must fit the schema %s", s.Schema)
	add(s.Dedup > 0, "messages of the same id are taken once in %s", config.FormatDuration(s.Dedup))
	add(s.Presence, "who asks for it is told who subscribes and leaves")
	add(len(s.Allow.Publish) > 0, "only %s may publish", strings.Join(s.Allow.Publish, ", "))
	add(len(s.Allow.Subscribe) > 0, "only %s may subscribe", strings.Join(s.Allow.Subscribe, ", "))
	if s.Durable {
		wait, times := config.FormatDuration(cmp.Or(s.AckWait, abstract.DefaultAckWait)), cmp.Or(s.MaxDeliver, abstract.DefaultMaxDeliver)
		dead := cmp.Or(s.DeadLetter, name+".dead")
		add(times > 1, "a message that is not acknowledged is delivered again after %s, %d times in all, then it goes to %s", wait, times, dead)
		add(times == 1, "a message that is not acknowledged within %s goes to %s", wait, dead)
	}
	return list
}

func keepsInWords(s abstract.TopicSettings) string {
	var bounds []string
	if h := s.History; h.Kept() {
		if h.Count > 0 {
			bounds = append(bounds, "the last "+count(h.Count, "message"))
		}
		if h.Bytes > 0 {
			bounds = append(bounds, bytesInWords(h.Bytes)+" of them")
		}
		if h.Age > 0 {
			bounds = append(bounds, "what is not older than "+config.FormatDuration(h.Age))
		}
	}
	kept := strings.Join(bounds, ", ")
	switch {
	case s.Durable && kept == "":
		return "durable: every message is on disk before its publish is answered, and stays"
	case s.Durable:
		return "durable: messages are on disk before their publish is answered; it keeps " + kept
	case kept == "" && s.Retain:
		return "keeps the last message, in memory"
	case kept == "":
		return "plain: messages go to who is subscribed, and are kept nowhere"
	}
	return "keeps in memory " + kept
}

func slowInWords(s abstract.TopicSettings) string {
	switch s.Slow {
	case abstract.SlowDropNewest:
		return "a subscriber that does not keep up loses what comes, and is told how much (drop-newest)"
	case abstract.SlowDisconnect:
		return "the subscription of who does not keep up ends, and it is told (disconnect)"
	case abstract.SlowLossless:
		return "a subscriber that does not keep up makes the publisher wait (lossless)"
	}
	if s.Durable {
		return "a subscriber that does not keep up reads on from the disk"
	}
	return "a subscriber that does not keep up loses what waited longest, and is told how much (drop-oldest)"
}
