package logs

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// AreaKey is the attribute that says which part of the program a logger belongs
// to: logger.With(AreaKey, "rpc").
const AreaKey = "area"

// Off is a level that nothing reaches.
const Off = slog.Level(1 << 20)

// choice is what may change while loggers are in use.
type choice struct {
	level  slog.Level
	levels map[string]slog.Level // by area
	json   bool
}

func (c *choice) of(area string) slog.Level {
	if level, ok := c.levels[area]; ok {
		return level
	}
	return c.level
}

// handler is a slog.Handler whose levels and format can change under the loggers
// made of it. It belongs to the area that was given to With last, outside of groups.
type handler struct {
	choice     *atomic.Pointer[choice]
	area       string
	grouped    bool
	text, json slog.Handler
}

var _ slog.Handler = (*handler)(nil)

func newHandler(w io.Writer, c *atomic.Pointer[choice]) *handler {
	all := &slog.HandlerOptions{Level: slog.Level(-1 << 20)}
	return &handler{choice: c, text: slog.NewTextHandler(w, all), json: slog.NewJSONHandler(w, all)}
}

// Enabled says whether the area logs at a level.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.choice.Load().of(h.area)
}

// Handle writes a record in the format of the moment.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.choice.Load().json {
		return h.json.Handle(ctx, r)
	}
	return h.text.Handle(ctx, r)
}

// WithAttrs returns a handler with attributes, which may name its area.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		if a.Key == AreaKey && !h.grouped {
			with.area = a.Value.String()
		}
	}
	with.text, with.json = h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)
	return &with
}

// WithGroup returns a handler whose further attributes are in a group.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.grouped = true
	with.text, with.json = h.text.WithGroup(name), h.json.WithGroup(name)
	return &with
}
