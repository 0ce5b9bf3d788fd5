package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

// recorded is a file with a recording of these lines, and its text.
func recorded(t *testing.T, lines ...recordedLine) (path, text string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "recording")
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := newRecordingWriter(f, "t", time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	for _, l := range lines {
		require.NoError(t, w.add(l))
	}
	require.NoError(t, w.finish())
	require.NoError(t, f.Close())
	all, err := os.ReadFile(path)
	require.NoError(t, err)
	return path, string(all)
}

// replayed is what a recording has, and how reading it ended.
func replayed(text string) (lines []recordedLine, err error) {
	r, err := openRecording(strings.NewReader(text))
	for err == nil {
		var l recordedLine
		if l, err = r.message(); err == nil {
			lines = append(lines, l)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return lines, err
}

func threeMessages() []recordedLine {
	return []recordedLine{
		{Topic: "t", Data: json.RawMessage(`"one"`), Meta: abstract.Metadata{"a": "b"}, ID: "id-1", Offset: 7},
		{AtUs: 1500, Topic: "t.u", Data: json.RawMessage(`{"n":9007199254740993,"html":"<&>"}`)},
		{AtUs: 1500, Topic: "t", Data: json.RawMessage(`null`)},
	}
}

func TestRecordingsReadAsTheyWereWritten(t *testing.T) {
	_, text := recorded(t, threeMessages()...)
	got, err := replayed(text)
	require.NoError(t, err)
	assert.Equal(t, threeMessages(), got)
	var head recordingHead
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(text, "\n", 2)[0]), &head))
	require.NotNil(t, head.Messages, "the first line knows, too")
	assert.Equal(t, 3, *head.Messages)
	for line := range strings.Lines(text) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

func TestRecordingsOfAnythingReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		w, err := newRecordingWriter(&b, "t", time.Unix(0, 0))
		require.NoError(t, err)
		var want []recordedLine
		at := int64(0)
		for range rapid.IntRange(0, 20).Draw(t, "messages") {
			if rapid.Bool().Draw(t, "gap") {
				require.NoError(t, w.add(recordedLine{Gap: true, Missed: 3}))
			}
			at += rapid.Int64Range(0, 1e9).Draw(t, "pause")
			data, err := json.Marshal(rapid.String().Draw(t, "data"))
			require.NoError(t, err)
			l := recordedLine{AtUs: at, Topic: rapid.StringN(1, 50, -1).Draw(t, "topic"), Data: data}
			l.Topic = strings.ToValidUTF8(l.Topic, "?")
			want = append(want, l)
			require.NoError(t, w.add(l))
		}
		require.NoError(t, w.finish())
		got, err := replayed(b.String())
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].AtUs, got[i].AtUs)
			require.Equal(t, want[i].Topic, got[i].Topic)
			require.JSONEq(t, string(want[i].Data), string(got[i].Data))
		}
	})
}

func TestTimesOfARecordingNeverGoBack(t *testing.T) {
	var b bytes.Buffer
	w, err := newRecordingWriter(&b, "t", time.Now())
	require.NoError(t, err)
	for _, at := range []int64{0, 100, 40, 200} {
		require.NoError(t, w.add(recordedLine{AtUs: at, Topic: "t", Data: json.RawMessage("1")}))
	}
	require.NoError(t, w.finish())
	got, err := replayed(b.String())
	require.NoError(t, err)
	assert.Equal(t, []int64{0, 100, 100, 200}, []int64{got[0].AtUs, got[1].AtUs, got[2].AtUs, got[3].AtUs})
}

// TestTruncatedRecordingsSayHowMuchIsMissing cuts a recording at every place.
func TestTruncatedRecordingsSayHowMuchIsMissing(t *testing.T) {
	_, text := recorded(t, threeMessages()...)
	first := strings.Index(text, "\n") + 1
	head := strings.Index(text, "}") + 1
	require.Less(t, head, first-1, "there are spaces behind it")
	for cut := head; cut < len(text)-1; cut++ { // without the last end of line it is whole
		got, err := replayed(text[:cut])
		var truncated *truncatedError
		require.ErrorAs(t, err, &truncated, "cut at %d", cut)
		assert.Equal(t, len(got), truncated.messages)
		assert.Equal(t, 3-len(got), truncated.missing)
		assert.LessOrEqual(t, len(got), 3)
	}
	_, err := replayed(text[:len(text)-1])
	require.NoError(t, err)
	for cut := range head {
		_, err := replayed(text[:cut])
		assert.ErrorContains(t, err, "this is no recording", "cut at %d", cut)
	}
}

func TestRecordingThatWentIntoAPipeDoesNotKnowHowMuchIsMissing(t *testing.T) {
	var b bytes.Buffer
	w, err := newRecordingWriter(&b, "t", time.Now())
	require.NoError(t, err)
	require.NoError(t, w.add(threeMessages()[0]))
	got, err := replayed(b.String())
	assert.Len(t, got, 1)
	assert.ErrorContains(t, err, "ends behind 1 message, and how many are missing is not known")
	require.NoError(t, w.finish())
	_, err = replayed(b.String())
	assert.NoError(t, err)
}

func TestDamagedRecordingsNameTheLine(t *testing.T) {
	_, text := recorded(t, threeMessages()...)
	lines := strings.SplitAfter(text, "\n")
	for name, tc := range map[string]struct {
		line int
		with string
		want string
		kept int
	}{
		"no JSON":          {2, "{\n", "line 3 of the recording is damaged", 1},
		"an array":         {2, "[]\n", "line 3 of the recording is damaged", 1},
		"two objects":      {2, `{"topic":"t","data":1}{"topic":"t","data":1}` + "\n", "more on it than one object", 1},
		"without topic":    {2, `{"data":1}` + "\n", "it names no topic", 1},
		"without data":     {2, `{"topic":"t"}` + "\n", "it has no data", 1},
		"unknown member":   {2, `{"topic":"t","data":1,"x":1}` + "\n", "line 3 of the recording is damaged", 1},
		"a time before":    {2, `{"topic":"t","data":1,"at_us":-1}` + "\n", "its time is out of reach", 1},
		"a time far away":  {2, `{"topic":"t","data":1,"at_us":99999999999999999}` + "\n", "its time is out of reach", 1},
		"metadata":         {2, `{"topic":"t","data":1,"meta":{"A":"x"}}` + "\n", "a name is 1 to", 1},
		"a missing line":   {2, "", "it has 3 messages, and 2 are there", 2},
		"too long":         {2, `"` + strings.Repeat("x", maxRecordedLine) + "\"\n", "line 3 of the recording is longer than", 1},
		"another form":     {0, `{"trefoil_recording":2}` + "\n", "take a newer trefoil", 0},
		"something else":   {0, "hello\n", "this is no recording", 0},
		"an empty line":    {1, "\n", "it has 3 messages, and 2 are there", 2},
		"nothing":          {-1, "", "it is empty", 0},
		"head longer than": {0, strings.Repeat(" ", maxRecordedLine+1), "line 1 of the recording is longer than", 0},
	} {
		t.Run(name, func(t *testing.T) {
			changed := ""
			if tc.line >= 0 {
				changed = strings.Join(lines[:tc.line], "") + tc.with + strings.Join(lines[tc.line+1:], "")
			}
			got, err := replayed(changed)
			assert.ErrorContains(t, err, tc.want)
			assert.Len(t, got, tc.kept)
		})
	}
}

func TestRecordingEndsWhenItCannotBeWritten(t *testing.T) {
	_, err := newRecordingWriter(fullDisk{}, "t", time.Now())
	assert.ErrorContains(t, err, "write the recording: the disk is full")
	w := &recordingWriter{w: fullDisk{}}
	assert.ErrorContains(t, w.add(threeMessages()[0]), "the disk is full")
	w = &recordingWriter{w: io.Discard}
	long, err := json.Marshal(strings.Repeat("x", maxRecordedLine))
	require.NoError(t, err)
	assert.ErrorContains(t, w.add(recordedLine{Topic: "t", Data: long}), "message 1 is longer than")
	assert.Zero(t, w.messages)
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func FuzzRecordingsOfAnyTextEnd(f *testing.F) {
	f.Add(`{"trefoil_recording":1}` + "\n" + `{"topic":"t","data":1}` + "\n" + `{"end":true,"messages":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := replayed(text)
		if err == nil {
			for _, l := range lines {
				require.NotEmpty(t, l.Topic)
				require.True(t, json.Valid(l.Data))
			}
		}
	})
}
