package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

func (a *app) registryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Look after a broker's registry",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return usagef("say what to do: status, or lift") },
	}
	cmd.AddCommand(
		a.command(cobra.Command{
			Use:   "status [flags]",
			Short: "Print how the registry is: what is provided, and whom it does not believe in",
			Long: "Print how many methods and hosts there are, which hosts drain, cannot be reached\n" +
				"or are lost, and whether the loss of most providers at once is not believed now.",
			Args:        cobra.NoArgs,
			Annotations: map[string]string{inTable: "registry-status"},
		}, a.registryStatus),
		a.command(cobra.Command{
			Use:   "lift [flags]",
			Short: "Believe that the providers are gone which the registry keeps",
			Long: "End the protection against the loss of most providers at once: those that were\n" +
				"lost and did not come back go offline now.",
			Args:        cobra.NoArgs,
			Annotations: map[string]string{inTable: "registry-lift"},
		}, a.registryLift),
	)
	return cmd
}

func (a *app) registryStatus(ctx context.Context, s *settings, _ []string) error {
	var st server.RegistryStatus
	if err := a.ask(ctx, s, server.MethodRegistryStatus, &st); err != nil {
		return err
	}
	if s.json {
		return writeJSON(a.stdout, st)
	}
	protection := "off"
	if st.Protected {
		protection = fmt.Sprintf("ON for %s, and for %s at most: losses are not believed; 'trefoil registry lift' ends that",
			seconds(st.SinceMs), seconds(st.LeftMs))
	}
	list := func(hosts []string) string {
		if len(hosts) == 0 {
			return "none"
		}
		return strings.Join(hosts, " ")
	}
	_, err := fmt.Fprintf(a.stdout, "methods      %d\nhosts        %d\nconnections  %d\ndraining     %s\nunhealthy    %s\nlost         %s\nprotection   %s\n",
		st.Methods, st.Hosts, st.Connections, list(st.Draining), list(st.Unhealthy), list(st.Lost), protection)
	return err
}

func seconds(ms int64) time.Duration {
	return (time.Duration(ms) * time.Millisecond).Round(time.Second)
}

func (a *app) registryLift(ctx context.Context, s *settings, _ []string) error {
	var lifted server.RegistryLifted
	if err := a.ask(ctx, s, server.MethodRegistryLift, &lifted); err != nil {
		return err
	}
	if lifted.Connections == 0 {
		return a.say(s, lifted, "nobody was kept; losses are believed")
	}
	return a.say(s, lifted, "lifted; providers of %d connections were kept", lifted.Connections)
}

// ask calls a method of the broker itself.
func (a *app) ask(ctx context.Context, s *settings, method string, result any) error {
	if err := cmp.Or(positive("timeout", s.timeout), a.brokersOnly(s)); err != nil {
		return err
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	rpc := client.NewDirectRpcClient(conn)
	defer rpc.Close()
	err = rpc.Call(ctx, method, nil, result, client.Timeout(s.timeout))
	if errors.Is(err, abstract.ErrMethodNotFound) || errors.Is(err, abstract.ErrWrongMessageType) {
		return &plainError{"the broker at " + s.brokerAddr() + " has no registry to ask about; it needs the roles rpc and registry", err}
	}
	return err
}
