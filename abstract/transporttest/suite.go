// Package transporttest is the behaviour that every transport must show. A
// transport's own tests call Run.
package transporttest

import (
	"net"
	"testing"

	"trefoil/abstract"
)

// Transport is what is tested: a server that is ready to Listen or does so
// already, and how to reach it.
type Transport struct {
	Server abstract.BaseServer
	Client abstract.BaseClient
	// Dial opens a connection of bare bytes to the server, for one reading and
	// one writing goroutine.
	Dial func(t testing.TB) net.Conn
	// Throttles says that the transport stops reading while its Receiver is
	// slow, instead of closing the connection once MaxInbound waits.
	Throttles bool
}

// Open makes the Transport of one test from the two sides' settings.
type Open func(t testing.TB, server, client abstract.TransportConfig) Transport

// Run runs the whole suite, with and without Direct.
func Run(t *testing.T, open Open) {
	for _, mode := range []struct {
		name   string
		direct bool
	}{{"queued", false}, {"direct", true}} {
		t.Run(mode.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, open, mode.direct) })
			}
		})
	}
}

var cases = []struct {
	name string
	run  func(t *testing.T, open Open, direct bool)
}{
	{"EchoesAMessage", echoes},
	{"FlushesAfterTheReceiver", flushesAfterReceiver},
	{"SendsWhatOnOpenQueued", sendsFromOnOpen},
	{"KeepsEachSendersOrder", keepsOrder},
	{"AssemblesFramesByteByByte", byteByByte},
	{"CarriesTheBiggestFrameBothWays", hugeFrame},
	{"HoldsLittleForPartialFrames", partialFrames},
	{"DeliversAndAnswersBeforeABadStreamCloses", badStream},
	{"DeliversEverythingBeforeFIN", finAfterData},
	{"AnswersAPeerThatClosedItsHalf", halfClose},
	{"BoundsWhatWaitsForASlowReceiver", slowReceiver},
	{"OverloadsInsteadOfBlocking", slowReader},
	{"ClosesAfterTheWriteTimeout", writeTimeout},
	{"LaneDropsOldest", laneDropsOldest},
	{"LaneDropsNewest", laneDropsNewest},
	{"LaneClosesConnection", laneCloses},
	{"LaneFrameGoesBeforeALaterTopicFrame", laneBeforeTopicFrame},
	{"ResponsePassesAFloodOfTopics", priority},
	{"WithdrawnFramesAreNeverWritten", withdrawn},
	{"UntakenMarksStayWithdrawableAfterClose", closeKeepsMarks},
	{"ClosesFromInsideOnMessages", closeInside},
	{"ClosesFromInsideOnOpen", closeInOnOpen},
	{"CallsOnCloseOnceAndLast", closeOnceLast},
	{"BothSeeTheLoss", lossSeenByBoth},
	{"ShutdownFlushes", shutdownFlushes},
	{"ShutdownRefusesNewFrames", shutdownRefuses},
	{"ServerShutdownEndsWithItsContext", serverShutdownBounded},
	{"ServerShutsDownBeforeServe", shutdownBeforeServe},
	{"ReceiverPanicClosesOnlyItsConnection", receiverPanic},
	{"SurvivesManyShortConnections", manyShort},
	{"HoldsMaxConns", maxConns},
	{"ConnectFailsWithoutServer", connectFails},
	{"RefusesSettingsWithoutProtocol", needsProtocol},
}
