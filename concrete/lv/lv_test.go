package lv_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// buffer is the simplest BaseBuffer.
type buffer struct{ b []byte }

var errShort = errors.New("fewer bytes are there")

func (b *buffer) Len() int { return len(b.b) }

func (b *buffer) Peek(n int) ([]byte, error) {
	if n > len(b.b) {
		return nil, errShort
	}
	return b.b[:n:n], nil
}

func (b *buffer) Next(n int) ([]byte, error) {
	p, err := b.Peek(n)
	if err == nil {
		b.b = b.b[n:]
	}
	return p, err
}

func head(length, mtype, idLen uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, length)
	b = binary.BigEndian.AppendUint32(b, mtype)
	return binary.BigEndian.AppendUint32(b, idLen)
}

// TestLimitsAreCheckedAsSoonAsTheirBytesAreThere gives Decode no byte more than
// shows the breach.
func TestLimitsAreCheckedAsSoonAsTheirBytesAreThere(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{MaxFrame: 1000, MaxID: 100})
	for _, c := range []struct {
		name string
		in   []byte
		code abstract.RCode
		text string
	}{
		{"Length 0", head(0, 0, 0)[:4], abstract.InvalidMessage, "below 8"},
		{"Length 7", head(7, 0, 0)[:4], abstract.InvalidMessage, "below 8"},
		{"Length negative", head(0xffffffff, 0, 0)[:4], abstract.TooLarge, "above the limit"},
		{"Length above the limit", head(997, 0, 0)[:4], abstract.TooLarge, "above the limit of 996"},
		{"HTTP", []byte("GET "), abstract.InvalidMessage, "look like HTTP"},
		{"HTTP with a body", []byte("POST"), abstract.InvalidMessage, "look like HTTP"},
		{"HTTP/2", []byte("PRI "), abstract.InvalidMessage, "HTTP/2"},
		{"SSH", []byte("SSH-"), abstract.InvalidMessage, "SSH"},
		{"TLS", []byte("\x16\x03\x01\x02"), abstract.InvalidMessage, "TLS"},
		{"MType negative", head(100, 0xffffffff, 0)[:8], abstract.InvalidMessage, "-1 is no message type"},
		{"MType between the old and ours", head(100, 6, 0)[:8], abstract.InvalidMessage, "6 is no message type"},
		{"IdLen negative", head(100, 0, 0xffffffff), abstract.InvalidMessage, "does not fit"},
		{"IdLen above the frame", head(100, 0, 93), abstract.InvalidMessage, "does not fit"},
		{"IdLen above the limit", head(900, 0, 101), abstract.TooLarge, "id of 101 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, ok, err := p.Decode(&buffer{c.in})
			assert.False(t, ok)
			assert.Equal(t, c.code, abstract.CodeOf(err))
			assert.ErrorContains(t, err, c.text)
			_, ok, err = p.Decode(&buffer{c.in[:len(c.in)-1]})
			assert.False(t, ok)
			assert.NoError(t, err, "one byte less shows nothing yet")
		})
	}
	_, ok, err := p.Decode(&buffer{head(996, 0, 100)})
	assert.False(t, ok)
	assert.NoError(t, err, "at the limits is within them")
}

func TestAppendRefusesWhatIsTooLarge(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{MaxFrame: 100, MaxID: 10})
	before := []byte("before")
	for name, m := range map[string]abstract.BaseMessage{
		"frame": &message.RpcRequest{Header: message.ID("1"), Method: string(make([]byte, 100))},
		"id":    &message.Ping{Header: message.ID("12345678901")},
	} {
		out, err := p.Append(before, m)
		assert.ErrorContains(t, err, "above the limit", name)
		assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err), name)
		assert.Equal(t, "before", string(out), name)
	}
}

func TestAppendPassesOnTheFrameItGot(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	frame := golden(t, "21-req-topic-publish")
	m, ok, err := p.Decode(&buffer{append(frame, 1, 2, 3)})
	require.NoError(t, err)
	require.True(t, ok)
	out, err := p.Append([]byte("before"), m)
	require.NoError(t, err)
	assert.Equal(t, "before"+string(frame), string(out), "bytes of the next frame are not part of it")
}

func TestAppendRefusesWhatTheCodecDoesNotKnow(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	type stranger struct{ message.Ping }
	out, err := p.Append([]byte("before"), &stranger{})
	assert.Equal(t, abstract.Internal, abstract.CodeOf(err))
	assert.Equal(t, "before", string(out))
}

// TestIdsAreOpaque: they come back as they were sent, whatever their bytes.
func TestIdsAreOpaque(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	for _, id := range []string{"", "\x00\xff", string(make([]byte, 300)), string(make([]byte, 1024))} {
		frame, err := p.Append(nil, &message.Pong{Header: message.ID(id)})
		require.NoError(t, err)
		m, ok, err := p.Decode(&buffer{frame})
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, id, m.ID())
	}
}

// TestDefaultLimits holds what docs/protocol.md promises.
func TestDefaultLimits(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	_, _, err := p.Decode(&buffer{head(8<<20-4, 0, 0)})
	assert.NoError(t, err)
	_, _, err = p.Decode(&buffer{head(8<<20-3, 0, 0)})
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err))
	_, _, err = p.Decode(&buffer{head(2000, 0, 1024)})
	assert.NoError(t, err)
	_, _, err = p.Decode(&buffer{head(2000, 0, 1025)})
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err))
	_, _, err = lv.New(message.New(message.Config{}), lv.Config{MaxFrame: math.MaxInt}).Decode(&buffer{head(1<<31, 0, 0)})
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err), "a negative Length is refused under any limit")
}

// TestDecodeAsksForNoMoreThanIsThere: a Length alone costs no memory.
func TestDecodeAsksForNoMoreThanIsThere(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	b := buffer{append(head(8<<20-4, 0, 0), "{"...)}
	allocs := testing.AllocsPerRun(10, func() {
		_, ok, err := p.Decode(&b)
		assert.False(t, ok)
		assert.NoError(t, err)
	})
	assert.Zero(t, allocs)
	assert.Equal(t, 13, b.Len(), "nothing is taken before the frame is whole")
}

var errBroken = errors.New("broken")

type brokenBuffer struct {
	buffer
	peeks bool // Peek works, Next does not
}

func (b *brokenBuffer) Peek(n int) ([]byte, error) {
	if !b.peeks {
		return nil, errBroken
	}
	return b.buffer.Peek(n)
}

func (b *brokenBuffer) Next(int) ([]byte, error) { return nil, errBroken }

func TestDecodeReturnsTheBuffersError(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	for _, peeks := range []bool{false, true} {
		_, ok, err := p.Decode(&brokenBuffer{buffer{append(head(10, 18, 0), "{}"...)}, peeks})
		assert.False(t, ok)
		assert.ErrorIs(t, err, errBroken)
	}
}

func TestBadBodyIsABadStream(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	_, ok, err := p.Decode(&buffer{append(head(10, 0, 0), "[]"...)})
	assert.False(t, ok)
	assert.Equal(t, abstract.ParseFailed, abstract.CodeOf(err))
}

func TestDecodeAllocatesTheMessageOnly(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	frame, err := p.Append(nil, &message.RpcRequest{Header: message.ID("0000000100000001"), Method: "math.add", Parameters: message.Raw(`{"a":1,"b":2}`)})
	require.NoError(t, err)
	var b buffer
	allocs := testing.AllocsPerRun(100, func() {
		b.b = frame
		_, _, _ = p.Decode(&b)
	})
	assert.LessOrEqual(t, allocs, 1.0)
}

// FuzzDecode checks that no bytes panic, and that the result is the same however
// they are split.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"01-req-rpc", "08-req-service-register", "12-rsp-service-two-hosts", "21-req-topic-publish", "29-little-endian"} {
		frame := golden(f, name)
		f.Add(frame, 5)
		f.Add(append(frame, frame...), 17)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 1)
	f.Add(append(head(10, 16, 0), "{}"...), 3)
	p := lv.New(message.New(message.Config{}), lv.Config{MaxFrame: 1 << 16})
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		whole, wholeErr := decodeAll(p, data, len(data)+1)
		pieces, piecesErr := decodeAll(p, data, 1+abs(piece)%64)
		assert.Equal(t, whole, pieces)
		assert.Equal(t, abstract.CodeOf(wholeErr), abstract.CodeOf(piecesErr))
	})
}

func abs(i int) int {
	if i < 0 {
		return -(i + 1)
	}
	return i
}

// decodeAll feeds data in pieces and returns what came out.
func decodeAll(p *lv.Protocol, data []byte, piece int) (all []abstract.BaseMessage, err error) {
	var b buffer
	for len(data) > 0 {
		n := min(piece, len(data))
		b.b = append(b.b[:len(b.b):len(b.b)], data[:n]...)
		data = data[n:]
		for {
			m, ok, err := p.Decode(&b)
			if err != nil {
				return all, err
			}
			if !ok {
				break
			}
			all = append(all, m)
		}
	}
	return all, nil
}
