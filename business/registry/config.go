package registry

import (
	"cmp"

	"trefoil/abstract"
)

// Config bounds a PDManager. The zero value takes the defaults.
type Config struct {
	// Broker names this broker in the Store's keys; default "local". Brokers
	// that share a Store need different names, and so do the runs of one
	// broker on a Store that outlives it: ConnIDs start again.
	Broker string

	MaxProvidersPerConn     int // methods times hosts that one connection registers; default 1,024
	MaxMethodsPerDiscoverer int // methods that one connection is told about; default 16,384
	MaxProvidersPerMethod   int // all connections together; registrations under way are not counted; default 32,768
	MaxMethod               int // bytes of a method's name; default 256
	MaxIP                   int // bytes of a host's address or name; default 253, as in messages
	MaxInstance             int // bytes of a provider's own id; default 256, as in messages
}

func (c Config) withDefaults() Config {
	c.Broker = cmp.Or(c.Broker, "local")
	c.MaxProvidersPerConn = cmp.Or(c.MaxProvidersPerConn, 1024)
	c.MaxMethodsPerDiscoverer = cmp.Or(c.MaxMethodsPerDiscoverer, 16_384)
	c.MaxProvidersPerMethod = cmp.Or(c.MaxProvidersPerMethod, 32768)
	c.MaxMethod = cmp.Or(c.MaxMethod, 256)
	c.MaxIP = cmp.Or(c.MaxIP, 253)
	c.MaxInstance = cmp.Or(c.MaxInstance, 256)
	return c
}

// checkMethod says what is wrong with a method's name.
func (c *Config) checkMethod(name string) error {
	switch {
	case name == "":
		return abstract.Errorf(abstract.InvalidParams, "the method is empty; name one")
	case len(name) > c.MaxMethod:
		return abstract.Errorf(abstract.InvalidParams, "the method's name has %d bytes, %d are allowed", len(name), c.MaxMethod)
	}
	return nil
}

// checkProvider says what is wrong with a provider.
func (c *Config) checkProvider(e entry) error {
	switch {
	case e.host.IP == "":
		return abstract.Errorf(abstract.InvalidParams, "the host's ip is empty; give the address that callers shall use")
	case len(e.host.IP) > c.MaxIP:
		return abstract.Errorf(abstract.InvalidParams, "the host's ip has %d bytes, %d are allowed", len(e.host.IP), c.MaxIP)
	case !validPort(e.host.Port):
		return abstract.Errorf(abstract.InvalidParams, "port %d is not one from 1 to %d", e.host.Port, maxPort)
	case len(e.instance) > c.MaxInstance:
		return abstract.Errorf(abstract.InvalidParams, "the instance id has %d bytes, %d are allowed", len(e.instance), c.MaxInstance)
	}
	return c.checkMethod(e.method)
}
