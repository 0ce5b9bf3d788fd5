package main

import (
	"log/slog"

	"trefoil/client"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// providersTLS is how the registry protects its connections to providers; it is settled when
// the broker starts.
func (b *brokerSettings) providersTLS(log *slog.Logger) ([]client.Option, error) {
	if b.tlsCert == "" && b.registryCA == "" {
		return nil, nil
	}
	t, err := stdnet.NewTLS(stdnet.TLSConfig{CertFile: b.tlsCert, KeyFile: b.tlsKey, RootCAFile: b.registryCA, Logger: log})
	if err != nil {
		return nil, err
	}
	return []client.Option{client.WithTLS(t)}, nil
}

// registryOptions are the registry's settings as the server takes them.
func (b *brokerSettings) registryOptions(log *slog.Logger, secure []client.Option) []server.Option {
	return []server.Option{
		server.WithHealthChecks(b.healthChecks(log, secure)), server.WithDialBack(b.dialBack), server.WithLossProtection(b.lossProtection()),
	}
}

func (b *brokerSettings) healthChecks(log *slog.Logger, secure []client.Option) server.HealthChecks {
	within := max(b.healthTimeout, b.dialBack)
	return server.HealthChecks{
		Interval: b.healthInterval, Timeout: b.healthTimeout, Failures: b.healthFailures,
		Dial: append([]client.Option{client.WithLogger(log), client.WithConnectTimeout(within), client.WithHelloTimeout(within)}, secure...),
	}
}

func (b *brokerSettings) lossProtection() server.LossProtection {
	return server.LossProtection{Share: float64(b.lossPercent) / 100, Hold: b.lossHold}
}
