// Package topiclogtest is the behaviour that every abstract.TopicLog must show. A
// driver's test calls Run.
package topiclogtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// Driver is what is tested.
type Driver struct {
	// Open returns logs of which there is none yet. The suite closes them.
	Open func(t *testing.T) abstract.TopicLog
	// Reopen opens again what logs of Open have kept that were closed. It is nil for a
	// driver that is not durable, which has no consumers either.
	Reopen func(t *testing.T, closed abstract.TopicLog) abstract.TopicLog
	// Slow makes fewer random steps, for a driver that writes to the disk each time.
	Slow bool
}

type test struct {
	name string
	run  func(*testing.T, *bench)
}

var logTests = []test{
	{"AppendGivesOffsetsInOrder", appendGivesOffsetsInOrder},
	{"EmptyLogHasBounds", emptyLogHasBounds},
	{"EntriesComeBackAsTheyWere", entriesComeBackAsTheyWere},
	{"TopicsDoNotMix", topicsDoNotMix},
	{"CountBoundsTheLog", countBoundsTheLog},
	{"BytesBoundTheLog", bytesBoundTheLog},
	{"AgeBoundsTheLog", ageBoundsTheLog},
	{"OpenChangesBounds", openChangesBounds},
	{"DuplicatesAreAppendedOnce", duplicatesAreAppendedOnce},
	{"DuplicateFailsNobodyElse", duplicateFailsNobodyElse},
	{"DuplicatesAreForgotten", duplicatesAreForgotten},
	{"IDsCountOnlyWithDedup", idsCountOnlyWithDedup},
	{"ReadComesInChunks", readComesInChunks},
	{"OffsetAtFindsTimes", offsetAtFindsTimes},
	{"DeletedIsNotRead", deletedIsNotRead},
	{"DeletedMakesRoom", deletedMakesRoom},
	{"RemovedLogIsGone", removedLogIsGone},
	{"EpochsAreLogsOfTheirOwn", epochsAreLogsOfTheirOwn},
	{"ManyAppendAtOnce", manyAppendAtOnce},
	{"CancelledContextAppendsNothing", cancelledContextAppendsNothing},
	{"ClosedLogsRefuse", closedLogsRefuse},
	{modelTest, agreesWithAModel},
}

const modelTest = "AgreesWithAModel"

var durableTests = []test{
	{"EntriesSurviveReopening", entriesSurviveReopening},
	{"DeletedStaysDeleted", deletedStaysDeleted},
	{"DeletedIsNotDelivered", deletedIsNotDelivered},
	{"ManyAreDeleted", manyAreDeleted},
	{"ConsumerStartsWhereItShall", consumerStartsWhereItShall},
	{"UnacknowledgedComesAgain", unacknowledgedComesAgain},
	{"ManyAreAcknowledged", manyAreAcknowledged},
	{"NackGivesBack", nackGivesBack},
	{"ProgressKeepsAnEntry", progressKeepsAnEntry},
	{"PositionIsKept", positionIsKept},
	{"FetchersShare", fetchersShare},
	{"UnackedAreBounded", unackedAreBounded},
	{"RemovedConsumerIsGone", removedConsumerIsGone},
	{"RemovedLogEndsFetch", removedLogEndsFetch},
	{"ClosedConsumerEndsFetch", closedConsumerEndsFetch},
	{"CancelledFetchLosesNothing", cancelledFetchLosesNothing},
	{"FetchWaits", fetchWaits},
	{"InfoSaysHowFarAConsumerIs", infoSaysHowFarAConsumerIs},
	{"ConsumersDoNotMix", consumersDoNotMix},
}

// Run runs the suite. Some tests wait for an age or a window to pass, which takes a
// second or two.
func Run(t *testing.T, d Driver) {
	tests := logTests
	if d.Reopen != nil {
		tests = append(tests[:len(tests):len(tests)], durableTests...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name != modelTest { // that one counts its steps by a flag of the process
				t.Parallel()
			}
			b := &bench{TopicLog: d.Open(t), t: t, driver: d}
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			assert.Equal(t, d.Reopen != nil, b.Durable())
			tt.run(t, b)
		})
	}
}

// patience is how long something may take that has to happen.
const patience = 2 * time.Minute

// bench is a TopicLog with shorthands for tests.
type bench struct {
	abstract.TopicLog
	t      *testing.T
	driver Driver
}

// plenty keeps more than any test appends.
var plenty = abstract.LogConfig{History: abstract.History{Count: 1 << 17}}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a log.
func (b *bench) open(topic, epoch string, cfg abstract.LogConfig) *log {
	b.t.Helper()
	l, err := b.Open(within(b.t), topic, epoch, cfg)
	require.NoError(b.t, err)
	return &log{l, b.t}
}

func (b *bench) remove(topic, epoch string) {
	b.t.Helper()
	require.NoError(b.t, b.Remove(within(b.t), topic, epoch))
}

// reopen closes and opens again.
func (b *bench) reopen() {
	b.t.Helper()
	require.NoError(b.t, b.Close())
	b.TopicLog = b.driver.Reopen(b.t, b.TopicLog)
}

// log is a Log with shorthands for tests.
type log struct {
	abstract.Log
	t *testing.T
}

// append appends entries in one call, which must be new, and returns the last offset.
func (l *log) append(data ...string) uint64 {
	l.t.Helper()
	offsets, err := l.Append(within(l.t), texts(data...))
	require.NoError(l.t, err)
	require.Len(l.t, offsets, len(data))
	for i, o := range offsets {
		require.False(l.t, o.Duplicate)
		require.Equal(l.t, offsets[0].Offset+uint64(i), o.Offset, "entries of one call stand together here")
	}
	return offsets[len(offsets)-1].Offset
}

// ids appends entries in one call whose data are their ids.
func (l *log) ids(ids ...string) []abstract.LogOffset {
	l.t.Helper()
	entries := texts(ids...)
	for i := range entries {
		entries[i].ID = ids[i]
	}
	offsets, err := l.Append(within(l.t), entries)
	require.NoError(l.t, err)
	require.Len(l.t, offsets, len(ids))
	return offsets
}

func (l *log) bounds() (first, last uint64) {
	l.t.Helper()
	first, last, err := l.Bounds(within(l.t))
	require.NoError(l.t, err)
	require.LessOrEqual(l.t, first, last+1)
	return first, last
}

// read returns what one call returns.
func (l *log) read(from uint64, most, bytes int) []abstract.LogEntry {
	l.t.Helper()
	list, err := l.Read(within(l.t), from, most, bytes)
	require.NoError(l.t, err)
	require.LessOrEqual(l.t, len(list), max(most, 0))
	return list
}

// all reads everything from an offset on.
func (l *log) all(from uint64) []abstract.LogEntry {
	l.t.Helper()
	var all []abstract.LogEntry
	for {
		list := l.read(from, 100, 1<<20)
		if len(list) == 0 {
			return all
		}
		all = append(all, list...)
		from = list[len(list)-1].Offset + 1
	}
}

func (l *log) delete(offsets ...uint64) {
	l.t.Helper()
	require.NoError(l.t, l.Delete(within(l.t), offsets...))
}

// texts are entries of these data.
func texts(data ...string) []abstract.LogEntry {
	entries := make([]abstract.LogEntry, len(data))
	for i, d := range data {
		entries[i].Data = []byte(d)
	}
	return entries
}

// numbered is n texts "0", "1" and so on.
func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

// show writes entries as "1=a 2=b".
func show(entries []abstract.LogEntry) string {
	var parts []string
	for _, e := range entries {
		parts = append(parts, fmt.Sprintf("%d=%s", e.Offset, e.Data))
	}
	return strings.Join(parts, " ")
}

// eventually waits until something holds that takes its time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 20*time.Millisecond, what)
}
