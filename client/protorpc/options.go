package protorpc

import (
	"time"

	"trefoil/client"
)

// options are those of a connection, or of a caller. The token is for who was named by
// an address, and not for providers, as anybody may have registered.
func (a *Application) options(token bool) []client.Option {
	opts := []client.Option{
		client.WithLogger(a.logger),
		client.WithTimeout(time.Duration(a.config.Timeout)),
		client.WithConnectTimeout(time.Duration(a.config.ConnectTimeout)),
	}
	if token && a.config.Token != "" {
		opts = append(opts, client.WithToken(a.config.Token))
	}
	return append(opts, a.client...)
}
