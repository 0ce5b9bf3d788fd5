package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"trefoil/client"
	"trefoil/cmd/trefoil/internal/logs"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for did not work
	exitUsage  = 2 // what was asked for makes no sense
)

// app is one run of the program: its streams, and how far it got.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	started        bool         // the command line was understood
	shared         *client.Conn // in a shell: its connection
}

// run runs the program with args (without its name) and returns its exit status.
// The end of ctx is what an interrupt is: a server drains, everything else stops.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if isFaulty(err) {
		a.complain(cmd, err)
		return exitUsage
	}
	var usage *usageError
	if !a.started || errors.As(err, &usage) {
		a.misunderstood(cmd, args, fmt.Errorf("%w; see %s --help", inOurWords(err), cmd.CommandPath()))
		return exitUsage
	}
	a.complain(cmd, interruption(ctx, err))
	return exitFailed
}

// flagsTogether is what cobra says of flags that exclude each other.
var flagsTogether = regexp.MustCompile(`^if any flags in the group .*; \[(.+)\] were all set$`)

// inOurWords says in plain words which flags exclude each other.
func inOurWords(err error) error {
	m := flagsTogether.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	return errors.New("--" + strings.Join(strings.Fields(m[1]), " and --") + " do not go together")
}

// complain writes an error in one line.
func (a *app) complain(cmd *cobra.Command, err error) {
	fmt.Fprintf(a.stderr, "%s: %s\n", cmd.CommandPath(), inWords(err))
}

// usageError is what the user can put right on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// inWords is an error for people, in one line. Tokens that were put into wrong places
// are not repeated.
func inWords(err error) string { return oneLine(string(logs.HideTokens([]byte(err.Error())))) }

// oneLine makes one line of text that may come from a peer: without line breaks
// and without what steers a terminal.
func oneLine(s string) string {
	return printable(strings.Join(strings.Fields(s), " "))
}

// printable replaces the control characters in s.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "trefoil",
		Short:         "Remote calls, topics and service discovery over JSON frames",
		Long:          "Trefoil is one small middleware: remote calls, topics and service discovery over\nJSON messages in length-value frames. Start with 'trefoil broker', or see it all\nat work with 'trefoil demo'.",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(
		a.brokerCommand(), a.provideCommand(), a.callCommand(), a.discoverCommand(), a.servicesCommand(), a.describeCommand(), a.registryCommand(),
		a.topicCommand(), a.pubCommand(), a.subCommand(), a.nodeCommand(), a.shellCommand(), a.tokenCommand(),
		a.configCommand(), a.benchCommand(), a.demoCommand(), a.demoProviderCommand(), a.versionCommand(),
	)
	return root
}

// action is what a command does once its flags are read and checked.
type action func(ctx context.Context, s *settings, args []string) error

// command makes a command with the flags that the table has for it.
func (a *app) command(c cobra.Command, do action) *cobra.Command {
	return a.commandWith(&settings{}, c, do)
}

// commandWith is command with settings that the caller holds too.
func (a *app) commandWith(s *settings, c cobra.Command, do action) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := s.check(); err != nil {
			return err
		}
		a.started = true
		return a.reported(c.Context(), s, do(c.Context(), s, args))
	}
	addFlags(&c, s)
	return &c
}
