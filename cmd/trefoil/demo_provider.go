package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/client"
	"trefoil/server"
)

// demoMethod is the method of the demo's providers.
const demoMethod = "demo.count"

// countParams asks a provider to count a text.
type countParams struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// countResult is its answer.
type countResult struct {
	Lines int64  `json:"lines"`
	Words int64  `json:"words"`
	Bytes int64  `json:"bytes"`
	By    string `json:"by"` // the provider's address
}

func (a *app) demoProviderCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:    "demo-provider [flags]",
		Short:  "Provide the demo's word count",
		Args:   cobra.NoArgs,
		Hidden: true,
	}, a.demoProvider)
}

func (a *app) demoProvider(ctx context.Context, s *settings, _ []string) error {
	s.timeout = demoPatience
	conn, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	srv := server.NewRpcServer(s.listen, server.WithLogger(a.logger(s)), server.WithRegistry(client.NewRegistryClient(conn)))
	if err := srv.Listen(); err != nil {
		return err
	}
	by := dialable(srv.Addr())
	err = server.Handle(srv, demoMethod, func(_ context.Context, in countParams) (countResult, error) {
		return countResult{
			Lines: int64(strings.Count(in.Text, "\n")),
			Words: int64(len(strings.Fields(in.Text))),
			Bytes: int64(len(in.Text)),
			By:    by,
		}, nil
	})
	if err != nil {
		return err
	}
	return a.serveMethod(ctx, s, srv, demoMethod)
}
