package topiclogtest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// faultName names what the slow driver of a child process does wrong.
const faultName = "TREFOIL_TOPICLOG_FAULT"

func TestSlowDriver(t *testing.T) {
	fault := os.Getenv(faultName)
	Run(t, Driver{
		Slow:   true,
		Open:   func(*testing.T) abstract.TopicLog { return newSlowLogs(fault) },
		Reopen: func(_ *testing.T, closed abstract.TopicLog) abstract.TopicLog { return closed.(*slowLogs).reopened() },
	})
}

// TestSuiteCanFail plants faults in the slow driver, and runs the test that is there to
// find each of them in a child process.
func TestSuiteCanFail(t *testing.T) {
	faults := []struct{ fault, test string }{
		{"loses an entry", "ManyAppendAtOnce"},
		{"mixes topics", "TopicsDoNotMix"},
		{"keeps everything", "CountBoundsTheLog"},
		{"keeps everything", "BytesBoundTheLog"},
		{"keeps everything", "OpenChangesBounds"},
		{"keeps everything", modelTest},
		{"removed logs live on", "RemovedLogIsGone"},
		{"removed logs live on", "EpochsAreLogsOfTheirOwn"},
		{"a duplicate fails the others", "DuplicateFailsNobodyElse"},
		{"a duplicate fails the others", modelTest},
		{"looks at every id", "IDsCountOnlyWithDedup"},
		{"reads too much", "ReadComesInChunks"},
		{"finds no exact time", "OffsetAtFindsTimes"},
		{"forgets the position", "PositionIsKept"},
		{"delivers twice", "FetchersShare"},
		{"delivers twice", "NackGivesBack"},
		{"does not count", "UnacknowledgedComesAgain"},
		{"does not bound", "UnackedAreBounded"},
		{"nacks at once", "NackGivesBack"},
		{"acknowledges the last", "ManyAreAcknowledged"},
		{"makes no progress", "ProgressKeepsAnEntry"},
		{"deletes nothing", "DeletedIsNotRead"},
		{"deletes nothing", modelTest},
		{"uses offsets again", "DeletedIsNotRead"},
		{"uses offsets again", modelTest},
		{"delivers what was deleted", "DeletedIsNotDelivered"},
	}
	for _, tt := range faults {
		t.Run(tt.fault+"/"+tt.test, func(t *testing.T) {
			t.Parallel()
			// The model goes on until it finds something, which a few steps alone do not always.
			cmd := exec.Command(os.Args[0], "-test.run=^TestSlowDriver$/^"+tt.test+"$", "-test.v", "-rapid.nofailfile", "-rapid.checks=10000")
			cmd.Env = append(os.Environ(), faultName+"="+tt.fault)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the suite found nothing:\n%s", out)
			assert.Contains(t, string(out), "--- FAIL: TestSlowDriver/"+tt.test)
			assert.NotContains(t, string(out), "panic:")
		})
	}
}
