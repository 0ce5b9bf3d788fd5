package lv_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// TestEncodedFramesAreNeverWrittenAgain keeps frames of many goroutines, small
// ones and such that need memory of their own, and looks at them at the end.
func TestEncodedFramesAreNeverWrittenAgain(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			var frames, want [][]byte
			for i := range 500 {
				m := &message.RpcRequest{Header: message.ID("id"), Method: string(rune('a' + g)), Parameters: bytes.Repeat([]byte("1"), i*i%9000+1)}
				frame, err := p.Encode(m)
				if !assert.NoError(t, err) {
					return
				}
				frames, want = append(frames, frame), append(want, bytes.Clone(frame))
				assert.Equal(t, len(frame), cap(frame), "nothing can be appended in place")
			}
			assert.Equal(t, want, frames)
		})
	}
	all.Wait()
}

func TestEncodeRefusesWhatAppendRefuses(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{MaxFrame: 100})
	_, err := p.Encode(&message.RpcRequest{Header: message.ID("1"), Method: string(make([]byte, 100))})
	require.Error(t, err)
	frame, err := p.Encode(&message.Ping{Header: message.ID("1")})
	require.NoError(t, err)
	assert.Len(t, frame, 15)
}
