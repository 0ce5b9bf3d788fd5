package main

import (
	"log/slog"

	"trefoil/client"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// registryOptions are the registry's settings as the server takes them.
func (b *brokerSettings) registryOptions(log *slog.Logger) ([]server.Option, error) {
	checks := server.HealthChecks{
		Interval: b.healthInterval, Timeout: b.healthTimeout, Failures: b.healthFailures,
		Dial: []client.Option{client.WithLogger(log), client.WithConnectTimeout(max(b.healthTimeout, b.dialBack)), client.WithHelloTimeout(max(b.healthTimeout, b.dialBack))},
	}
	if b.tlsCert != "" || b.registryCA != "" {
		t, err := stdnet.NewTLS(stdnet.TLSConfig{CertFile: b.tlsCert, KeyFile: b.tlsKey, RootCAFile: b.registryCA, Logger: log})
		if err != nil {
			return nil, err
		}
		checks.Dial = append(checks.Dial, client.WithTLS(t))
	}
	return []server.Option{
		server.WithHealthChecks(checks), server.WithDialBack(b.dialBack),
		server.WithLossProtection(server.LossProtection{Share: float64(b.lossPercent) / 100, Hold: b.lossHold}),
	}, nil
}
