package protorpc

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"trefoil/abstract"
	"trefoil/client"
)

// Application is what a program was started with, and the registry that it is
// connected to: one for all its Channels and Providers. Safe for concurrent use.
// Close it after them.
type Application struct {
	config     Config
	args       []string
	logger     *slog.Logger
	client     []client.Option
	registries map[string]OpenRegistry
	output     io.Writer

	mu       sync.Mutex
	registry abstract.Registry // nil: not yet
	file     *os.File          // of the log
	closed   bool
}

// OpenRegistry opens a registry other than a broker, such as the one of package
// concrete/zookeeper. It should return at once, and connect in the background.
type OpenRegistry func(c Config, log *slog.Logger) (abstract.Registry, error)

// AppOption changes what an Application is.
type AppOption func(*appOptions)

type appOptions struct {
	app   *Application
	flags []func(*flag.FlagSet)
}

// WithRegistry makes a registry known, by the name that the configuration has for it.
func WithRegistry(name string, open OpenRegistry) AppOption {
	return func(o *appOptions) { o.app.registries[name] = open }
}

// WithFlags defines flags of the program's own, beside those of the Application.
func WithFlags(define func(*flag.FlagSet)) AppOption {
	return func(o *appOptions) { o.flags = append(o.flags, define) }
}

// WithLogger logs there, in place of what the configuration says.
func WithLogger(log *slog.Logger) AppOption { return func(o *appOptions) { o.app.logger = log } }

// WithOutput writes the log and the help there, in place of standard error.
func WithOutput(w io.Writer) AppOption { return func(o *appOptions) { o.app.output = w } }

// WithClient gives options to all connections and callers, such as client.WithTLS.
func WithClient(opts ...client.Option) AppOption {
	return func(o *appOptions) { o.app.client = append(o.app.client, opts...) }
}

// NewApplication reads a program's arguments, without its name:
//
//	-i FILE              a configuration in JSON: an object with the members of Config
//	--registry NAME, ... what goes over the file's; --help lists all
//
// It connects to nothing yet. The error is flag.ErrHelp when help was asked for, and
// written.
func NewApplication(args []string, opts ...AppOption) (*Application, error) {
	a := &Application{config: defaults(), registries: make(map[string]OpenRegistry), output: os.Stderr}
	o := appOptions{app: a}
	for _, opt := range opts {
		opt(&o)
	}
	if err := a.parse(args, o.flags); err != nil {
		return nil, err
	}
	if err := a.config.check(a.knows); err != nil {
		return nil, err
	}
	if err := a.openLog(); err != nil {
		return nil, err
	}
	return a, nil
}

// parse reads the flags twice: first for the file that they name, whose settings they
// go over. The program's own are defined and set once.
func (a *Application) parse(args []string, more []func(*flag.FlagSet)) error {
	var file string
	scratch := defaults()
	first := newFlags(&scratch, &file)
	flags := newFlags(&a.config, &file)
	for _, define := range more {
		define(flags)
	}
	flags.VisitAll(func(f *flag.Flag) {
		if first.Lookup(f.Name) == nil {
			first.Var(passedOver{f.Value}, f.Name, f.Usage)
		}
	})
	if err := first.Parse(args); err == nil && file != "" {
		if err := a.config.readFile(file); err != nil {
			return err
		}
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(a.output)
		flags.PrintDefaults()
		return err
	case err != nil: // which who calls prints
		return fmt.Errorf("%w; --help lists the flags", err)
	}
	a.args = flags.Args()
	return nil
}

// passedOver is a flag that is not set.
type passedOver struct{ flag.Value }

// Set does nothing.
func (passedOver) Set(string) error { return nil }

// String is what the flag package asks of the zero value, too.
func (passedOver) String() string { return "" }

// IsBoolFlag says whether the flag may stand without a value.
func (p passedOver) IsBoolFlag() bool {
	b, ok := p.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func newFlags(c *Config, file *string) *flag.FlagSet {
	flags := flag.NewFlagSet("application", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(file, "i", "", "`FILE` with the configuration, in JSON")
	c.define(flags)
	return flags
}

func (a *Application) knows(registry string) bool {
	return registry == brokerRegistry || a.registries[registry] != nil
}

func (a *Application) openLog() error {
	if a.logger != nil {
		return nil
	}
	to := a.output
	if name := a.config.Log.File; name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		a.file, to = f, f
	}
	o := &slog.HandlerOptions{Level: a.config.Log.Level}
	if a.config.Log.Format == "json" {
		a.logger = slog.New(slog.NewJSONHandler(to, o))
	} else {
		a.logger = slog.New(slog.NewTextHandler(to, o))
	}
	return nil
}

// Config is what the Application was told.
func (a *Application) Config() Config { return a.config }

// Args are the arguments that stand after the flags.
func (a *Application) Args() []string { return a.args }

// Logger is where the Application logs, and the program may.
func (a *Application) Logger() *slog.Logger { return a.logger }

// Registry is where services are registered and found. It is opened the first time,
// without waiting for a connection, and closed with the Application.
func (a *Application) Registry() (abstract.Registry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, abstract.Errorf(abstract.Disconnected, "the application is closed")
	}
	if a.registry != nil {
		return a.registry, nil
	}
	r, err := a.open()
	if err != nil {
		return nil, err
	}
	a.registry = r
	return r, nil
}

func (a *Application) open() (abstract.Registry, error) {
	if open := a.registries[a.config.Registry]; open != nil {
		return open(a.config, a.logger)
	}
	return client.NewRegistry(client.Open(a.config.Addresses[0], a.options(true)...)), nil
}

// Close closes the registry, which takes back what is still registered there.
func (a *Application) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	var faults []error
	if a.registry != nil {
		faults = append(faults, a.registry.Close())
	}
	if a.file != nil {
		faults = append(faults, a.file.Close())
	}
	return errors.Join(faults...)
}
