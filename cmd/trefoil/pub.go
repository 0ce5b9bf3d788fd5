package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"trefoil/client"
)

// maxLine is the longest line that pub reads: a frame has room for it, unless
// most of it needs escapes.
const maxLine = 7 << 20

func (a *app) pubCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "pub TOPIC [MESSAGE | -] [flags]",
		Short: "Publish a message, or one for each line of standard input",
		Long: "Publish MESSAGE as a JSON string, or with --type json as the JSON value it is.\n" +
			"With - in its place, or without it, every line of standard input is a message.",
		Args: cobra.RangeArgs(1, 2),
	}, a.pub)
}

// pubOutput says for programs what was published.
type pubOutput struct {
	Topic     string `json:"topic"`
	Published int    `json:"published"` // messages
	Bytes     int64  `json:"bytes"`     // of their text
}

func (a *app) pub(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	ctx, err := s.carrying(ctx)
	if err != nil {
		return err
	}
	if len(args) == 1 || args[1] == "-" {
		return a.pubLines(ctx, s, args[0])
	}
	message, err := encodeMessage(s.kind, args[1])
	if err != nil {
		return &usageError{err.Error()}
	}
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		if err := t.Publish(ctx, args[0], message); err != nil {
			return topicError(args[0], err)
		}
		return a.published(s, pubOutput{args[0], 1, int64(len(args[1]))})
	})
}

func (a *app) published(s *settings, out pubOutput) error {
	messages := "messages"
	if out.Published == 1 {
		messages = "message"
	}
	return a.say(s, out, "published %d %s to %s", out.Published, messages, out.Topic)
}

// encodeMessage makes the JSON of a message.
func encodeMessage(kind, text string) (json.RawMessage, error) {
	if kind == "json" {
		if !json.Valid([]byte(text)) {
			return nil, fmt.Errorf("the message is not valid JSON: %.100q; leave --type json out to send it as a string", text)
		}
		return json.RawMessage(text), nil
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("the message is not valid UTF-8: %.100q; JSON carries nothing else", text)
	}
	return json.Marshal(text)
}

// pubLines publishes every line of standard input. Every message has the
// timeout for itself, and the input may take as long as it likes.
func (a *app) pubLines(ctx context.Context, s *settings, topic string) (err error) {
	conn, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	topics := client.NewTopicClient(conn)
	progress := newBar(a.stderr, "messages")
	out, size := pubOutput{Topic: topic}, sizeOf(a.stdin)
	for line, problem := range lines(ctx, a.stdin) {
		if err = problem; err != nil {
			break
		}
		message, problem := encodeMessage(s.kind, line)
		if problem == nil {
			problem = topicError(topic, topics.Publish(ctx, topic, message))
		}
		if problem != nil {
			err = fmt.Errorf("line %d: %w", out.Published+1, problem)
			break
		}
		out.Published++
		out.Bytes += int64(len(line))
		progress.draw(progressOf{done: out.Bytes + int64(out.Published), total: size, items: int64(out.Published)})
	}
	progress.clear()
	if err != nil {
		return fmt.Errorf("%d messages were published, then: %w", out.Published, err)
	}
	return a.published(s, out)
}

// sizeOf is how much there is to read, or 0 when that is not known.
func sizeOf(r io.Reader) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// lines yields the lines of r, or the error that ended them: also that of ctx,
// while a read is still waiting for input.
func lines(ctx context.Context, r io.Reader) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		type item struct {
			line string
			err  error
		}
		next := make(chan item, 64)
		go func() {
			defer close(next)
			scanner := bufio.NewScanner(r)
			scanner.Buffer(nil, maxLine)
			for scanner.Scan() {
				select {
				case next <- item{line: scanner.Text()}:
				case <-ctx.Done():
					return
				}
			}
			err := scanner.Err()
			if errors.Is(err, bufio.ErrTooLong) {
				err = fmt.Errorf("a line is longer than %d bytes; shorter lines can be published", maxLine)
			}
			if err != nil {
				next <- item{err: err}
			}
		}()
		for {
			select {
			case it, ok := <-next:
				if !ok || !yield(it.line, it.err) {
					return
				}
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			}
		}
	}
}
