package jetstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Config says where JetStream is. Exactly one of Dir and URL is needed.
type Config struct {
	// Dir is the directory of a server inside this process. It is made when it is not
	// there, its mode is set to 0700, and nothing else may be kept in it. One process at
	// a time can use it.
	Dir string
	// Sync is when the server in Dir syncs; SyncAlways when it is 0.
	Sync Sync
	// Quota is how many bytes the logs in Dir may have before appends are refused with
	// Overloaded; 0 leaves it to the disk.
	Quota int64
	// KeepFree is how many bytes are left free on the disk of Dir: appends that would leave
	// less are refused with Overloaded, too. 64 MiB when it is 0. A topic that meets a full
	// disk all the same takes nothing more until the broker is started again.
	KeepFree int64

	// URL is where servers of version 2.12 or later with JetStream are:
	// "nats://10.0.0.1:4222,nats://10.0.0.2:4222". When they sync is their own setting.
	URL string
	// Credentials is a file with the user's token and key, for servers that ask for it.
	Credentials string
	// TLS is for servers that want it; nil leaves it to the URL.
	TLS *tls.Config
	// Replicas is how many of the servers keep each log: 1, 3 or 5; 1 when it is 0.
	Replicas int

	// Prefix begins the names of everything in JetStream, so that others can use the
	// servers, too; "trefoil" when it is empty.
	Prefix string
	// MaxMessage is how many bytes of Data an entry may have; 8 MiB when it is 0, and never
	// more than 24 MiB, as JetStream takes records of 32 MiB for damaged. Servers at URL may
	// allow less.
	MaxMessage int
	// Timeout is how long JetStream has to answer, 10 seconds when it is 0: then the fate
	// of an append is unknown.
	Timeout time.Duration
	// Logger is told what happens; slog.Default() when it is nil.
	Logger *slog.Logger
}

const (
	defaultPrefix     = "trefoil"
	defaultMaxMessage = 8 << 20
	defaultTimeout    = 10 * time.Second
	mostMessage       = 24 << 20
	defaultKeepFree   = 64 << 20
	maxPrefix         = 32
	// headRoom is what a message may have beside its Data: an id, and what JetStream adds.
	headRoom = 64 << 10
)

// withDefaults returns the Config with every default filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	switch {
	case (c.Dir == "") == (c.URL == ""):
		return c, errors.New("give the topic logs a directory or a URL of NATS servers, and not both")
	case c.Dir != "" && c.Replicas > 1:
		return c, errors.New("a server in a directory is one; replicas are for a URL of several NATS servers")
	case c.Replicas < 0 || c.Replicas > 5 || c.Replicas > 0 && c.Replicas%2 == 0:
		return c, fmt.Errorf("%d replicas cannot agree; take 1, 3 or 5", c.Replicas)
	case len(c.Prefix) > maxPrefix || strings.Trim(c.Prefix, safe) != "":
		return c, fmt.Errorf("the prefix %.40q does not do; take at most %d letters, digits and '-'", c.Prefix, maxPrefix)
	case c.MaxMessage < 0 || c.Quota < 0 || c.KeepFree < 0 || c.Timeout < 0:
		return c, errors.New("a limit of the topic logs is negative; leave it out for the default")
	}
	c.Replicas = max(c.Replicas, 1)
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = defaultMaxMessage
	}
	c.MaxMessage = min(c.MaxMessage, mostMessage)
	if c.KeepFree == 0 {
		c.KeepFree = defaultKeepFree
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
