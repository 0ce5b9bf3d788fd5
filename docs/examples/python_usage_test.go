package examples_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPythonProgramsSayHowTheyAreCalled(t *testing.T) {
	for name, want := range map[string]string{
		"call.py":    "python3 call.py BROKER METHOD [PARAMETERS]",
		"provide.py": "python3 provide.py BROKER",
		"chat.py":    "python3 chat.py BROKER NAME",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), python3(t), "-B", name)
			cmd.Dir = "python"
			said, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, 2, exit.ExitCode())
			assert.Contains(t, string(said), want)
			assert.NotContains(t, string(said), "Traceback")
		})
	}
}
