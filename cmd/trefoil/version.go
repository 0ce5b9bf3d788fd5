package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"trefoil/concrete/message"
)

// release is the version of sources that no build has stamped.
const release = "0.1.0-dev"

func (a *app) versionCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "version [flags]",
		Short: "Print the version of this program and of the protocol it speaks",
		Args:  cobra.NoArgs,
	}, a.version)
}

// versionOutput is the version for programs.
type versionOutput struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the sources, when the build knows it
	Protocol int    `json:"protocol"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) version(_ context.Context, s *settings, _ []string) error {
	out := versionOutput{
		Version: release, Protocol: message.ProtocolVersion,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				out.Revision = setting.Value
			}
		}
	}
	return a.say(s, out, "trefoil %s, protocol %d, %s %s", out.Version, out.Protocol, out.Go, out.Platform)
}
