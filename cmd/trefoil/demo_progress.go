package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"trefoil/client"
)

const demoTopic = "demo.progress"

// demoProgress is a message of the demo's topic.
type demoProgress struct {
	Files      int64  `json:"files"`
	FilesTotal int64  `json:"files_total"`
	Bytes      int64  `json:"bytes"`
	BytesTotal int64  `json:"bytes_total"`
	Note       string `json:"note,omitempty"`
	Last       bool   `json:"last,omitempty"`
}

// progressTopic publishes how far the demo is, and draws what it is told as a
// subscriber on a connection of its own.
type progressTopic struct {
	topics    *client.TopicClient
	bar       *bar
	published int
	received  atomic.Int64
	last      chan struct{} // closed when the last message has come
}

// newProgressTopic creates the topic and subscribes to it.
func newProgressTopic(ctx context.Context, publisher, subscriber *client.Conn, w io.Writer) (*progressTopic, error) {
	p := &progressTopic{topics: client.NewTopicClient(publisher), bar: newBar(w, "files"), last: make(chan struct{})}
	if err := p.topics.Create(ctx, demoTopic); err != nil {
		return nil, err
	}
	_, err := client.NewTopicClient(subscriber).Subscribe(ctx, demoTopic, p.show)
	return p, err
}

// show draws one message.
func (p *progressTopic) show(m client.Message) {
	var at demoProgress
	if m.Decode(&at) != nil {
		return // somebody else's message
	}
	p.received.Add(1)
	p.bar.draw(progressOf{done: at.Bytes, total: at.BytesTotal, items: at.Files, note: at.Note})
	if at.Last {
		p.bar.clear()
		close(p.last)
	}
}

// publish publishes what now returns, ten times a second, until ctx ends, and
// then once more.
func (p *progressTopic) publish(ctx context.Context, now func() demoProgress) error {
	ticker := time.NewTicker(drawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return p.finish(now())
		case <-ticker.C:
			if err := p.topics.Publish(ctx, demoTopic, now()); err != nil && ctx.Err() == nil {
				return fmt.Errorf("publish the progress: %w", err)
			}
			p.published++
		}
	}
}

// finish publishes the last message and waits until it is drawn.
func (p *progressTopic) finish(at demoProgress) error {
	ctx, cancel := context.WithTimeout(context.Background(), demoPatience)
	defer cancel()
	at.Last = true
	if err := p.topics.Publish(ctx, demoTopic, at); err != nil {
		return fmt.Errorf("publish the progress: %w", err)
	}
	p.published++
	select {
	case <-p.last:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the last message of %s did not arrive: %w", demoTopic, ctx.Err())
	}
}
