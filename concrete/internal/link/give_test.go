package link

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
)

// lender is a Source that reads into one buffer again and again, and makes a new one when
// it has given that away.
type lender struct {
	stream []byte
	buf    []byte
	reads  []int // their lengths, again and again
	n, at  int
	least  int // that is given away
	given  int
}

func (l *lender) Next() ([]byte, error) {
	for i := range l.buf { // what was lent is over
		l.buf[i] = 0xff
	}
	if len(l.stream) == 0 {
		return nil, io.EOF
	}
	if l.buf == nil {
		l.buf = make([]byte, 64)
	}
	l.n = copy(l.buf[:l.reads[l.at%len(l.reads)]], l.stream)
	l.stream = l.stream[l.n:]
	l.at++
	return l.buf[:l.n:l.n], nil
}

func (l *lender) Give() bool {
	if l.n < l.least {
		return false
	}
	l.given++
	l.buf = nil
	return true
}

// hoard is a Receiver that keeps the messages.
type hoard struct {
	sink
	all []*transporttest.Message
}

func (h *hoard) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		h.all = append(h.all, m.(*transporttest.Message))
	}
}

func TestMessagesKeepTheBytesTheyCameIn(t *testing.T) {
	var stream []byte
	for n := range 100 {
		var err error
		stream, err = transporttest.Protocol{}.Append(stream, &transporttest.Message{N: uint64(n), Body: bytes.Repeat([]byte{byte(n)}, 5*(n%30))})
		require.NoError(t, err)
	}
	for name, tt := range map[string]struct {
		least int
		reads []int
		given bool
	}{
		"all given away":     {0, []int{64, 1, 50, 3, 64, 64, 2}, true},
		"large ones only":    {43, []int{64, 1, 50, 3, 42, 43, 64}, true},
		"byte by byte":       {43, []int{1}, false},
		"never":              {65, []int{64, 50}, false},
		"a large one last":   {43, []int{7, 7, 64}, true},
		"a small one behind": {43, []int{64, 7}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hoard{sink: sink{closed: make(chan error, 1)}}
			cfg := testConfig(h)
			cfg.Direct = true
			src := &lender{stream: stream, reads: tt.reads, least: tt.least}
			c := NewReading(cfg, newFakeWire(), nil)
			c.Open()
			c.Read(src)
			wait(t, h.closed)
			assert.Equal(t, tt.given, src.given > 0)
			require.Len(t, h.all, 100)
			for n, m := range h.all {
				require.Equal(t, uint64(n), m.N)
				require.Equal(t, bytes.Repeat([]byte{byte(n)}, 5*(n%30)), m.Body, n)
			}
		})
	}
}
