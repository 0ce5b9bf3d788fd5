package client

import (
	"net"

	"trefoil/abstract"
)

// opening is how a connection is really opened that is to be opened in a way. Who
// shows a token, or asks for TLS, does not take a peer for an existing program because
// it leaves HELLO without an answer: somebody on the way can make it look like that,
// and would get requests that are nobody's.
func (c *config) opening(how mode) (mode, error) {
	switch {
	case how == modeLegacy && c.token != nil:
		return how, &abstract.Error{Code: abstract.InvalidParams, Op: "connect", Sent: abstract.SentNo,
			Message: "a token is sent in HELLO, which existing programs do not know; connect to them without one"}
	case how == modeAuto && (c.token != nil || c.tls):
		return modeModern, nil
	}
	return how, nil
}

// warnOfToken says once that a token goes over a network as it is.
func (w *wire) warnOfToken(to net.Addr) {
	tcp, ok := to.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || w.cfg.tls || w.cfg.foreign {
		return
	}
	w.warned.Do(func() {
		w.cfg.logger.Warn("the token can be read by everybody on its way; use TLS", "peer", to.String())
	})
}
