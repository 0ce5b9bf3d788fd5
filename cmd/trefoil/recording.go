package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"trefoil/abstract"
)

// A recording is a file of JSON objects, one a line: what it is, then messages, with gaps
// where some were missed, then how many there are. What it is says that too, where the
// file could be written to at its beginning: a file whose end is missing then tells how
// much that was.

// recordingVersion is that of the form of recordings.
const recordingVersion = 1

// maxRecordedLine is the longest line of a recording.
const maxRecordedLine = 32 << 20

// recordingHead is the first line of a recording.
type recordingHead struct {
	Version  int       `json:"trefoil_recording"`
	Topic    string    `json:"topic"` // or the filter
	Started  time.Time `json:"started"`
	Messages *int      `json:"messages,omitempty"` // missing: it has not ended well, or went into a pipe
}

// recordedLine is a message, or another line behind the first.
type recordedLine struct {
	AtUs   int64             `json:"at_us"` // after the first message
	Topic  string            `json:"topic,omitempty"`
	Data   json.RawMessage   `json:"data,omitempty"`
	Meta   abstract.Metadata `json:"meta,omitempty"`
	ID     string            `json:"msg_id,omitempty"` // what its publisher called it
	Offset uint64            `json:"offset,omitempty"`

	Gap    bool   `json:"gap,omitempty"`    // it is no message: some are missing here
	Missed uint64 `json:"missed,omitempty"` // of a gap; 0: it is not known how many

	End      bool `json:"end,omitempty"` // it is the last line
	Messages int  `json:"messages,omitempty"`
	Gaps     int  `json:"gaps,omitempty"`
}

// recordingWriter writes a recording. It is for one goroutine.
type recordingWriter struct {
	w        io.Writer
	head     recordingHead
	room     int // bytes of the first line
	messages int
	gaps     int
	lastUs   int64
}

// countRoom is how much longer the first line becomes when it says how many messages
// there are.
const countRoom = len(`,"messages":`) + 19

// newRecordingWriter writes the first line.
func newRecordingWriter(w io.Writer, topic string, started time.Time) (*recordingWriter, error) {
	r := &recordingWriter{w: w, head: recordingHead{Version: recordingVersion, Topic: topic, Started: started}}
	line, err := jsonLine(r.head)
	if err != nil {
		return nil, err
	}
	r.room = len(line) + countRoom
	if err := r.write(filled(line, r.room)); err != nil {
		return nil, err
	}
	return r, nil
}

// filled is a line with spaces before its end.
func filled(line []byte, n int) []byte {
	text := bytes.TrimSuffix(line, []byte("\n"))
	return append(append(text, bytes.Repeat([]byte(" "), n-len(text)-1)...), '\n')
}

// jsonLine is v in one line.
func jsonLine(v any) ([]byte, error) {
	var b bytes.Buffer
	err := writeJSON(&b, v)
	return b.Bytes(), err
}

func (r *recordingWriter) write(line []byte) error {
	if _, err := r.w.Write(line); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

// add writes a line in one piece, so that it is there whole when the process ends.
func (r *recordingWriter) add(l recordedLine) error {
	l.AtUs = max(l.AtUs, r.lastUs) // clocks of two machines may have met
	r.lastUs = l.AtUs
	line, err := jsonLine(l)
	if err != nil {
		return err
	}
	if len(line) > maxRecordedLine {
		return fmt.Errorf("message %d is longer than the %d bytes that a line of a recording has", r.messages+1, maxRecordedLine)
	}
	if l.Gap {
		r.gaps++
	} else {
		r.messages++
	}
	return r.write(line)
}

// finish writes the last line, and into the first one how many messages there are.
func (r *recordingWriter) finish() error {
	line, err := jsonLine(recordedLine{AtUs: r.lastUs, End: true, Messages: r.messages, Gaps: r.gaps})
	if err != nil {
		return err
	}
	if err := r.write(line); err != nil {
		return err
	}
	file, ok := r.w.(io.WriterAt)
	if !ok {
		return nil
	}
	r.head.Messages = &r.messages
	if line, err = jsonLine(r.head); err != nil {
		return err
	}
	if _, err := file.WriteAt(filled(line, r.room), 0); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

// recordingReader reads a recording. It is for one goroutine.
type recordingReader struct {
	head recordingHead
	in   *bufio.Reader
	line int   // that was read last
	read int64 // bytes
	cut  bool  // the file's last line has no end

	messages, gaps int // so far
}

// truncatedError is the error of a recording that ends before its last line.
type truncatedError struct {
	messages int // that it has
	missing  int // -1: it is not known
}

func (e *truncatedError) Error() string {
	text := fmt.Sprintf("the recording is truncated: it ends behind %s", count(e.messages, "message"))
	switch e.missing {
	case -1:
		return text + ", and how many are missing is not known: recording it did not end well, or its end was cut off"
	case 0:
		return text + "; its last line is missing, but no message"
	}
	return text + fmt.Sprintf(", and %d more are missing", e.missing)
}

// openRecording reads the first line.
func openRecording(from io.Reader) (*recordingReader, error) {
	r := &recordingReader{in: bufio.NewReaderSize(from, 64<<10)}
	text, err := r.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("this is no recording: it is empty")
	}
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(text, &r.head) != nil || r.head.Version == 0 {
		return nil, errors.New(`this is no recording: its first line does not say "trefoil_recording"; 'trefoil topic record' makes one`)
	}
	if r.head.Version != recordingVersion {
		return nil, fmt.Errorf("this recording has form %d, and only form %d can be read here; take a newer trefoil", r.head.Version, recordingVersion)
	}
	return r, nil
}

// message returns the next message, or io.EOF behind the last of a whole recording.
func (r *recordingReader) message() (recordedLine, error) {
	for {
		text, err := r.next()
		if errors.Is(err, io.EOF) {
			return recordedLine{}, r.truncated()
		}
		if err != nil {
			return recordedLine{}, err
		}
		l, err := parseRecorded(text)
		switch {
		case err != nil && r.cut:
			return recordedLine{}, r.truncated()
		case err != nil:
			return recordedLine{}, fmt.Errorf("line %d of the recording is damaged: %w", r.line, err)
		case l.Gap:
			r.gaps++
		case l.End && l.Messages != r.messages:
			return recordedLine{}, fmt.Errorf("the recording is damaged: its last line says that it has %s, and %d are there", count(l.Messages, "message"), r.messages)
		case l.End:
			return recordedLine{}, io.EOF
		default:
			r.messages++
			return l, nil
		}
	}
}

func (r *recordingReader) truncated() error {
	e := &truncatedError{messages: r.messages, missing: -1}
	if r.head.Messages != nil {
		e.missing = max(0, *r.head.Messages-r.messages)
	}
	return e
}

// parseRecorded reads a line behind the first.
func parseRecorded(text []byte) (l recordedLine, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, errors.New("it is no JSON object as a recording has them")
	}
	if d.More() {
		return l, errors.New("there is more on it than one object")
	}
	if l.Gap || l.End {
		return l, nil
	}
	switch {
	case l.Topic == "":
		err = errors.New("it names no topic")
	case len(l.Data) == 0:
		err = errors.New("it has no data")
	case l.AtUs < 0 || l.AtUs > maxRecordedUs:
		err = errors.New("its time is out of reach")
	default:
		err = l.Meta.Check()
	}
	return l, err
}

// maxRecordedUs is a year: nobody replays at times beyond that.
const maxRecordedUs = 366 * 24 * 3600 * 1_000_000

// next reads a line that is not empty.
func (r *recordingReader) next() ([]byte, error) {
	for {
		text, err := r.whole()
		if err != nil {
			return nil, err
		}
		r.line++
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
	}
}

// whole reads a line, but no more of it than a line may have. The last one of a file may
// lack its end, which cut says.
func (r *recordingReader) whole() (line []byte, err error) {
	for {
		part, err := r.in.ReadSlice('\n')
		r.read += int64(len(part))
		line = append(line, part...)
		switch {
		case len(line) > maxRecordedLine:
			return nil, fmt.Errorf("line %d of the recording is longer than %d bytes", r.line+1, maxRecordedLine)
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			r.cut = true
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
