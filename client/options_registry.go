package client

import "time"

// WithGrace sets for how long providers are held, that is, still believed in, which the
// broker does not know (yet): all that are missing after a reconnect, and all that
// vanish from an answer at once with most of the others. The default is 10 s,
// twice as long as a provider may take to try again (WithBackoff); 0 or less believes
// the broker at once. An OFFLINE notice ends it at once.
func WithGrace(d time.Duration) Option { return func(c *config) { c.grace = d } }

// WithRecheck sets how often a Conn asks about every method that it follows although
// nothing seems to be missing; the default is about once a minute. Negative: never.
func WithRecheck(d time.Duration) Option { return func(c *config) { c.recheck = d } }

// WithListsIn keeps the last lists of providers in a file in dir, one for each broker
// address, and reads it at the start. A list is used when the broker cannot be reached
// and has not answered yet; all of it is held then. A file that cannot be read is
// logged and not used. Programs that talk to one broker may share dir.
func WithListsIn(dir string) Option { return func(c *config) { c.listsIn = dir } }

// WithAutoHeartbeat says whether registrations with a TTL are renewed without being
// asked, three times in each TTL; the default is true. Without it they end unless
// RegistryClient.Heartbeat is called in time, which shows that more than the connection
// works.
func WithAutoHeartbeat(on bool) Option { return func(c *config) { c.renews = on } }
