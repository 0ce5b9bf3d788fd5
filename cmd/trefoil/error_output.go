package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/cmd/trefoil/internal/logs"
)

// The codes of errors that no rcode fits.
const (
	codeUsage         = "usage"         // the command line makes no sense; exit status 2
	codeConfiguration = "configuration" // the broker's settings have faults; exit status 2
	codeFile          = "file"          // a file cannot be read or written
	codeFailed        = "failed"        // anything else that went wrong here
)

// errorOutput is an error for programs.
type errorOutput struct {
	RCode    abstract.RCode  `json:"rcode,omitempty"` // none: the error is of this command, and of no peer
	Code     string          `json:"code"`            // the rcode in words, or one of the codes above
	Message  string          `json:"message"`
	Details  json.RawMessage `json:"details,omitempty"`
	Instance string          `json:"instance,omitempty"`
	Attempts int             `json:"attempts,omitempty"`
	Sent     string          `json:"sent,omitempty"` // whether the request left: no, yes or unknown
}

func newErrorOutput(err error) *errorOutput {
	out := &errorOutput{Message: string(logs.HideTokens([]byte(err.Error())))}
	out.RCode, out.Code = codeOf(err)
	var e *abstract.Error
	if errors.As(err, &e) {
		out.Details, out.Instance, out.Attempts = e.Details, e.Instance, e.Attempts
		if out.RCode != abstract.OK {
			out.Sent = e.Sent.String()
		}
	}
	return out
}

// codeOf says what kind of error this is: by an rcode, or by one of the codes above.
func codeOf(err error) (abstract.RCode, string) {
	var (
		usage  *usageError
		ours   *abstract.Error
		within interface{ Timeout() bool }
		path   *fs.PathError
		link   *os.LinkError
	)
	code := abstract.CodeOf(err)
	switch {
	case errors.As(err, &usage):
		return 0, codeUsage
	case isFaulty(err):
		return 0, codeConfiguration
	case (errors.As(err, &path) || errors.As(err, &link)) && !fromPeer(err):
		return 0, codeFile
	case errors.As(err, &ours) || code != abstract.Internal:
	case errors.As(err, &within) && within.Timeout():
		code = abstract.Timeout
	case isNetwork(err):
		code = abstract.Unavailable
	default:
		return 0, codeFailed
	}
	return code, code.String()
}

// fromPeer says whether somebody else has told us of an error.
func fromPeer(err error) bool {
	var e *abstract.Error
	return errors.As(err, &e) && e.FromPeer
}

// isNetwork says whether an error is about reaching somebody.
func isNetwork(err error) bool {
	var op *net.OpError
	var name *net.DNSError
	return errors.As(err, &op) || errors.As(err, &name)
}

// reportedError is an error that programs have been told in a command's own output.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return e.err.Error() }
func (e *reportedError) Unwrap() error { return e.err }

// reported writes an error as JSON too, where a program reads the output.
func (a *app) reported(ctx context.Context, s *settings, err error) error {
	var told *reportedError
	if err == nil || !s.json || errors.As(err, &told) {
		return err
	}
	return errors.Join(err, a.report(interruption(ctx, err)))
}

// report writes an error for programs.
func (a *app) report(err error) error {
	return writeJSON(a.stdout, struct {
		Error *errorOutput `json:"error"`
	}{newErrorOutput(err)})
}

// interruption is the error of a command that was told to end: whatever that made fail.
func interruption(ctx context.Context, err error) error {
	var drained *drainError
	if ctx.Err() == nil || errors.As(err, &drained) {
		return err
	}
	return &plainError{"interrupted", context.Canceled}
}

// misunderstood ends a command whose line makes no sense, or that got no further than that:
// it tells programs that read its output, unless they have been told.
func (a *app) misunderstood(cmd *cobra.Command, args []string, err error) {
	if !a.started && asksForJSON(cmd, args) {
		_ = a.report(usagef("%s", err)) // the exit status says so, too
	}
	a.complain(cmd, err)
}

// asksForJSON says whether a command line has the flag --json, also where the flags could not
// be read to their end.
func asksForJSON(cmd *cobra.Command, args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return cmd.Flags().Lookup("json") != nil && (slices.Contains(args, "--json") || slices.Contains(args, "--json=true"))
}
