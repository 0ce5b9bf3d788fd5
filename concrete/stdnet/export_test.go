package stdnet

import "crypto/tls"

// ServerConfig is what the next handshake of a server uses.
func (t *TLS) ServerConfig() *tls.Config { return t.serverConfig() }
