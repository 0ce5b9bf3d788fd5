package link

import (
	"log/slog"
	"time"

	"trefoil/abstract"
)

const (
	defaultMaxInbound   = 32 << 20
	defaultMaxQueued    = 32 << 20
	defaultMaxConns     = 100_000
	defaultWriteTimeout = 10 * time.Second
	defaultLaneBytes    = 1 << 20

	// lingerFor bounds how long Shutdown waits for the peer's end after it has
	// written everything. Closing with unread input would make the kernel reset
	// the connection, and what the peer has not read yet could be lost.
	lingerFor = 500 * time.Millisecond
	// rejectFor bounds the Shutdown that follows bytes that are no frames.
	rejectFor = time.Second
)

// Defaults returns cfg with the defaults in place of zero values.
func Defaults(cfg abstract.TransportConfig) *abstract.TransportConfig {
	if cfg.MaxInbound <= 0 {
		cfg.MaxInbound = defaultMaxInbound
	}
	if cfg.MaxQueued <= 0 {
		cfg.MaxQueued = defaultMaxQueued
	}
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultMaxConns
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &cfg
}

// Check reports what a transport cannot work without.
func Check(cfg *abstract.TransportConfig) error {
	if cfg.Protocol == nil || cfg.OnOpen == nil {
		return abstract.Errorf(abstract.InvalidParams, "the transport needs a Protocol and an OnOpen in its TransportConfig")
	}
	return nil
}
