package protorpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"trefoil/abstract"
)

// Config is what an Application was told, by its file and its flags.
type Config struct {
	Registry       string    `json:"registry"`        // where services are registered: "broker", or what the program knows beside that
	Addresses      []string  `json:"addresses"`       // of the registry; a broker has one
	Listen         string    `json:"listen"`          // where a Provider listens
	Advertise      string    `json:"advertise"`       // the address that callers of a Provider use; empty: where it listens
	Token          string    `json:"token"`           // says to a broker who this is; empty: nobody in particular
	Timeout        Duration  `json:"timeout"`         // of a call
	ConnectTimeout Duration  `json:"connect_timeout"` // of a connection's opening
	DrainTimeout   Duration  `json:"drain_timeout"`   // how long a Provider takes at most to end its calls when it stops
	Log            LogConfig `json:"log"`
}

// LogConfig says what is logged, and where to.
type LogConfig struct {
	Level  slog.Level `json:"level"`  // "debug", "info", "warn" or "error"
	Format string     `json:"format"` // "text" or "json"
	File   string     `json:"file"`   // is added to; empty: standard error
}

// Duration is a time.Duration that is written as a text such as "1.5s".
type Duration time.Duration

// String returns the text.
func (d Duration) String() string { return time.Duration(d).String() }

// Set reads the text; it makes a Duration a flag.
func (d *Duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return errors.New(`give a time above 0 with its unit, such as "1.5s"`)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text.
func (d *Duration) UnmarshalText(text []byte) error { return d.Set(string(text)) }

const brokerRegistry = "broker"

func defaults() Config {
	return Config{
		Registry:       brokerRegistry,
		Addresses:      []string{"127.0.0.1:7700"},
		Listen:         "127.0.0.1:0",
		Timeout:        Duration(5 * time.Second),
		ConnectTimeout: Duration(5 * time.Second),
		DrainTimeout:   Duration(10 * time.Second),
		Log:            LogConfig{Format: "text"},
	}
}

// maxConfig is the largest configuration file.
const maxConfig = 1 << 20

// readFile sets what a configuration file names.
func (c *Config) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxConfig {
		return fmt.Errorf("read the configuration: %s is larger than %d bytes", name, maxConfig)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return fmt.Errorf("read the configuration: %s: %w", name, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("read the configuration: %s: something stands after the object", name)
	}
	return nil
}

// define makes flags of the settings; what is given goes over what is there already.
func (c *Config) define(flags *flag.FlagSet) {
	flags.StringVar(&c.Registry, "registry", c.Registry, "where services are registered: broker, or what the program knows beside that")
	flags.Func("addresses", "`ADDRESS,...` of the registry (default "+strings.Join(c.Addresses, ",")+")", func(text string) error {
		c.Addresses = strings.Split(text, ",")
		return nil
	})
	flags.StringVar(&c.Listen, "listen", c.Listen, "`ADDRESS` where a provider listens")
	flags.StringVar(&c.Advertise, "advertise", c.Advertise, "`ADDRESS` that callers of a provider use, when it is not the one where it listens")
	flags.Var(&c.Timeout, "timeout", "`TIME` that a call takes at most")
	flags.Var(&c.ConnectTimeout, "connect-timeout", "`TIME` that opening a connection takes at most")
	flags.Var(&c.DrainTimeout, "drain-timeout", "`TIME` that a provider takes at most to end its calls when it stops")
	flags.TextVar(&c.Log.Level, "log-level", c.Log.Level, "`LEVEL` of what is logged: debug, info, warn or error")
	flags.StringVar(&c.Log.Format, "log-format", c.Log.Format, "text or json")
	flags.StringVar(&c.Log.File, "log-file", c.Log.File, "`FILE` that the log is added to; empty: standard error")
}

// check returns what is wrong.
func (c *Config) check(known func(registry string) bool) error {
	switch {
	case !known(c.Registry):
		return abstract.Errorf(abstract.InvalidParams, "registry %q is not known to this program", c.Registry)
	case len(c.Addresses) == 0:
		return abstract.Errorf(abstract.InvalidParams, `"addresses" is empty; name where the registry is`)
	case c.Registry == brokerRegistry && len(c.Addresses) > 1:
		return abstract.Errorf(abstract.InvalidParams, "a broker has one address; %d are given", len(c.Addresses))
	case c.Log.Format != "text" && c.Log.Format != "json":
		return abstract.Errorf(abstract.InvalidParams, `log format %q is not known; take text or json`, c.Log.Format)
	}
	for _, a := range c.Addresses {
		if strings.TrimSpace(a) == "" {
			return abstract.Errorf(abstract.InvalidParams, "an address of the registry is empty")
		}
	}
	if c.Advertise != "" {
		if _, err := abstract.ParseHost(c.Advertise); err != nil {
			return abstract.Errorf(abstract.InvalidParams, "%q is not an address to be called at; give host:port", c.Advertise)
		}
	}
	return nil
}
