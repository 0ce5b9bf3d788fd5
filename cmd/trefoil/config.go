package main

import (
	"context"
	_ "embed" // for the frame of the document
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"trefoil/cmd/trefoil/internal/config"
	"trefoil/cmd/trefoil/internal/logs"
)

//go:generate go run . config docs ../../docs/configuration.md

func (a *app) configCommand() *cobra.Command {
	configure := &cobra.Command{
		Use:   "config",
		Short: "Check a broker's configuration file, or show what holds",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: check FILE, show, or docs")
		},
	}
	shown := &settings{}
	configure.AddCommand(
		a.command(cobra.Command{
			Use: "check FILE [flags]", Args: cobra.ExactArgs(1),
			Annotations: map[string]string{inTable: "config-check"},
			Short:       "Say everything that is wrong with a configuration file, and where",
		}, a.configCheck),
		addSettingFlags(a.commandWith(shown, cobra.Command{
			Use: "show [flags]", Args: cobra.NoArgs,
			Annotations: map[string]string{inTable: "config-show"},
			Short:       "Show every setting of a broker that is started here with these flags, and where it came from",
		}, a.configShow), shown),
		a.command(cobra.Command{
			Use: "docs [FILE]", Args: cobra.MaximumNArgs(1),
			Annotations: map[string]string{inTable: "config-docs"},
			Short:       "Write the description of all settings, as Markdown",
		}, a.configDocs),
	)
	return configure
}

// faultOutput is a fault for programs.
type faultOutput struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Fault  string `json:"fault"`
}

func (a *app) configCheck(_ context.Context, s *settings, args []string) error {
	text, err := readConfig(args[0])
	if err != nil {
		return err
	}
	_, err = (&settings{}).loadFrom(config.Sources{File: args[0], Text: text})
	var faults config.FaultErrors
	if !errors.As(err, &faults) {
		return errors.Join(err, a.say(s, map[string]any{"event": "checked", "file": args[0]}, "%s is all right", args[0]))
	}
	for _, f := range faults {
		out := faultOutput{f.Origin.Name, f.Origin.Line, f.Origin.Column, string(logs.HideTokens([]byte(f.Text)))}
		if err := a.say(s, out, "%s", inWords(f)); err != nil {
			return err
		}
	}
	return &reportedError{fmt.Errorf("%s has %s", args[0], plural(len(faults), "fault"))}
}

func (a *app) configShow(_ context.Context, s *settings, _ []string) error {
	values, err := s.load()
	if err != nil {
		return err
	}
	if s.json {
		for _, v := range values {
			if err := writeJSON(a.stdout, v); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, v := range values {
		text := oneLine(v.Shown())
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", v.Key, text, oneLine(v.Origin.String()))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// docsFrame is docs/configuration.md without its tables.
//
//go:embed config_docs.md
var docsFrame string

// configDocument is docs/configuration.md.
func configDocument() string {
	return strings.Replace(docsFrame, "{{settings}}\n", brokerTable(&settings{}).Markdown(), 1)
}

func (a *app) configDocs(_ context.Context, _ *settings, args []string) error {
	if len(args) == 0 {
		_, err := fmt.Fprint(a.stdout, configDocument())
		return err
	}
	return os.WriteFile(args[0], []byte(configDocument()), 0o644)
}
