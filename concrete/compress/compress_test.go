package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

const (
	zst = abstract.CompressZstd
	blk = abstract.CompressS2
)

var methods = []abstract.CompressMethod{zst, blk}

// orders is JSON of about size bytes, as programs send it.
func orders(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteString(`{"method":"orders.import","parameters":{"orders":[`)
	for i := 0; b.Len() < size-20; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"%016x","customer":%d,"sku":"SKU-%05d","quantity":%d,"price":%d.%02d,"currency":"EUR","status":"%s","note":"order %d of batch %d"}`,
			r.Uint64(), r.IntN(1e6), r.IntN(1e5), 1+r.IntN(9), r.IntN(500), r.IntN(100), []string{"open", "paid", "shipped"}[r.IntN(3)], i, r.IntN(9))
	}
	b.WriteString(`]}}`)
	return b.Bytes()
}

func noise(size int) []byte {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(p)
	return p
}

func TestBodyComesBackAsItWas(t *testing.T) {
	c := New(Config{Above: -1})
	for _, m := range methods {
		for _, size := range []int{500, 1 << 10, smallScratch - 1, smallScratch, smallScratch + 1, 256 << 10, 1 << 20} {
			t.Run(fmt.Sprint(m, " ", size), func(t *testing.T) {
				body := orders(size)
				dst := []byte("before")
				out, ok := c.Compress(dst, m, body)
				require.True(t, ok)
				require.Equal(t, "before", string(out[:6]))
				assert.Less(t, len(out)-6, len(body))
				got, err := c.Decompress([]byte("head"), m, out[6:], len(body))
				require.NoError(t, err)
				assert.True(t, bytes.Equal(append([]byte("head"), body...), got))
				assert.Equal(t, len(got), cap(got), "no more memory than it needs")
				assert.Equal(t, len(out), cap(out), "the same")
			})
		}
	}
}

func TestWhatDoesNotGetSmallerIsLeft(t *testing.T) {
	c := New(Config{})
	for _, m := range methods {
		for name, body := range map[string][]byte{
			"the threshold itself": []byte(strings.Repeat("a", defaultAbove)),
			"noise":                noise(100 << 10),
			"empty":                nil,
		} {
			_, ok := c.Compress([]byte("before"), m, body)
			assert.False(t, ok, "%v %s", m, name)
		}
		_, ok := c.Compress(nil, m, []byte(strings.Repeat("a", defaultAbove+1)))
		assert.True(t, ok, "above the threshold")
	}
	_, ok := c.Compress(nil, abstract.CompressNone, orders(9000))
	assert.False(t, ok)
	_, ok = c.Compress(nil, 9, orders(9000))
	assert.False(t, ok)
}

func TestUnknownMethodIsUnsupported(t *testing.T) {
	for _, m := range []abstract.CompressMethod{abstract.CompressNone, 3, 200} {
		_, err := New(Config{}).Decompress(nil, m, []byte("x"), limit)
		require.ErrorIs(t, err, abstract.ErrUnsupported)
	}
}

func TestOnlyTheMethodsOfTheConfigAreKnown(t *testing.T) {
	only := New(Config{Methods: []abstract.CompressMethod{abstract.CompressNone, 7, zst, zst}})
	assert.Equal(t, []abstract.CompressMethod{zst}, only.Methods())
	_, ok := only.Compress(nil, blk, orders(9000))
	assert.False(t, ok)
	block, ok := New(Config{}).Compress(nil, blk, orders(9000))
	require.True(t, ok)
	_, err := only.Decompress(nil, blk, block, limit)
	require.ErrorIs(t, err, abstract.ErrUnsupported)
	assert.Equal(t, []abstract.CompressMethod{blk, zst}, New(Config{}).Methods())
	assert.Equal(t, defaultAbove, New(Config{}).Above())
}

// zeros compresses size zero bytes in a stream, which does not say how many come.
func zeros(t testing.TB, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
	require.NoError(t, err)
	piece := make([]byte, 1<<20)
	for ; size > 0; size -= len(piece) {
		_, err := w.Write(piece[:min(size, len(piece))])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// lying is the head of a frame that announces size bytes, and hardly anything after it.
func lying(size uint64) []byte {
	p := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0} // a single segment, and eight bytes for its size
	p = binary.LittleEndian.AppendUint64(p, size)
	return append(p, 0x03, 0x00, 0x00, 'x') // the last block: one byte, repeated no times
}

const limit = 8 << 20

func TestBombsAreRefusedBeforeMemoryIsSpent(t *testing.T) {
	c := New(Config{})
	lengthOnly := binary.AppendUvarint(nil, 0xffffffff)
	for _, tt := range []struct {
		name  string
		m     abstract.CompressMethod
		data  []byte
		large bool // it needs large scratch memory, which the process has a bounded amount of
	}{
		{"much that does not say so", zst, zeros(t, 256<<20), true},
		{"one byte above the limit", zst, zeros(t, limit+1), true},
		{"a size above the limit", zst, lying(1 << 40), false},
		{"the largest size", zst, lying(1<<64 - 1), false},
		{"a window above all limits", zst, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00}, false},
		{"s2 of 4 GiB", blk, append(lengthOnly, noise(20)...), false},
		{"s2 that really is too much", blk, s2.Encode(nil, make([]byte, limit+1)), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			warm := func() { // what the process has once
				_, err := c.Decompress(nil, tt.m, tt.data, limit)
				require.ErrorIs(t, err, abstract.ErrTooLarge)
			}
			warm()
			const times = 8
			spent := allocated(func() {
				for range times {
					_, _ = c.Decompress(nil, tt.m, tt.data, limit)
				}
			})
			most := uint64(times * 64 << 10)
			if tt.large {
				most = times * limit / 2 // a pool may be empty now and then, and under the race detector often is
			}
			assert.Less(t, spent, most+limit*3)
		})
	}
}

// TestAnnouncedBytesCostNothing sends frames of a few bytes that announce as many as
// are allowed.
func TestAnnouncedBytesCostNothing(t *testing.T) {
	c := New(Config{})
	for name, tt := range map[string]struct {
		m    abstract.CompressMethod
		data []byte
	}{
		"zstd": {zst, lying(limit)},
		"s2":   {blk, append(binary.AppendUvarint(nil, limit), noise(20)...)},
	} {
		t.Run(name, func(t *testing.T) {
			const times = 100
			spent := allocated(func() {
				for range times {
					_, err := c.Decompress(nil, tt.m, tt.data, limit)
					require.ErrorIs(t, err, abstract.ErrParseFailed)
				}
			})
			assert.Less(t, spent, uint64(times*limit/2), "100 frames of 20 bytes that announce 8 MiB each")
		})
	}
}

func allocated(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which empties pools
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestTheLimitItselfIsTaken(t *testing.T) {
	for _, max := range []int{100, smallScratch, 1 << 20} {
		c := New(Config{Above: -1})
		for _, data := range []struct {
			m    abstract.CompressMethod
			make func(n int) []byte
		}{
			{zst, func(n int) []byte { return zeros(t, n) }},
			{zst, func(n int) []byte { out, _ := New(Config{Above: -1}).Compress(nil, zst, make([]byte, n)); return out }},
			{blk, func(n int) []byte { return s2.Encode(nil, make([]byte, n)) }},
		} {
			got, err := c.Decompress(nil, data.m, data.make(max), max)
			require.NoError(t, err, "%v %d", data.m, max)
			assert.Len(t, got, max)
			_, err = c.Decompress(nil, data.m, data.make(max+1), max)
			require.ErrorIs(t, err, abstract.ErrTooLarge, "%v %d", data.m, max)
		}
	}
}

func TestDamageIsAnError(t *testing.T) {
	c := New(Config{})
	body := orders(20 << 10)
	for _, m := range methods {
		whole, ok := c.Compress(nil, m, body)
		require.True(t, ok)
		for name, data := range map[string][]byte{
			"nothing": nil, "cut": whole[:len(whole)/2], "not compressed": body, "the other method": func() []byte {
				other, _ := c.Compress(nil, zst+blk-m, body)
				return other
			}(), "one byte": {0xff},
		} {
			_, err := c.Decompress(nil, m, data, limit)
			code := abstract.CodeOf(err)
			assert.True(t, code == abstract.ParseFailed || code == abstract.TooLarge, "%v %s: %v", m, name, err)
		}
	}
}

func TestABodyIsOneFrameOfZstd(t *testing.T) {
	c := New(Config{})
	one := zeros(t, 100)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}, "skip"...)
	for name, data := range map[string][]byte{
		"two frames": append(bytes.Clone(one), one...), "one that is skipped": skippable, "and one that is not": append(skippable, one...),
		"a byte too many": append(bytes.Clone(one), 0), "no checksum": one[:len(one)-4], "a head alone": one[:6],
		"two frames too large together": append(zeros(t, 4<<20), zeros(t, 5<<20)...),
	} {
		_, err := c.Decompress(nil, zst, data, limit)
		assert.ErrorIs(t, err, abstract.ErrParseFailed, name)
	}
	got, err := c.Decompress(nil, zst, one, limit)
	require.NoError(t, err)
	assert.Len(t, got, 100)
}

// TestSmallBodiesDoNotWaitForLargeOnes takes all the large scratch memory there is.
func TestSmallBodiesDoNotWaitForLargeOnes(t *testing.T) {
	c := New(Config{})
	for range cap(turns) {
		turns <- struct{}{}
	}
	for _, m := range methods {
		small, _ := c.Compress(nil, m, orders(10<<10))
		_, err := c.Decompress(nil, m, small, limit)
		require.NoError(t, err)
	}
	done := make(chan error)
	go func() {
		big, _ := c.Compress(nil, blk, orders(1<<20))
		_, err := c.Decompress(nil, blk, big, limit)
		done <- err
	}()
	for range cap(turns) {
		<-turns
	}
	require.NoError(t, <-done, "and a large one goes on when it is its turn")
}

func TestManyAtOnce(t *testing.T) {
	c := New(Config{Above: -1})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 20 {
				body := orders(1<<10 + n*i*3000)
				for _, m := range methods {
					out, ok := c.Compress(nil, m, body)
					got, err := c.Decompress(nil, m, out, limit)
					if !assert.True(t, ok) || !assert.NoError(t, err) || !assert.True(t, bytes.Equal(body, got)) {
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestDecodedBodiesShareNoMemory(t *testing.T) {
	c := New(Config{Above: -1})
	for _, m := range methods {
		a, b := bytes.Repeat([]byte("a"), 2000), bytes.Repeat([]byte("b"), 2000)
		one, _ := c.Compress(nil, m, a)
		two, _ := c.Compress(nil, m, b)
		first, err := c.Decompress(nil, m, one, limit)
		require.NoError(t, err)
		_, err = c.Decompress(nil, m, two, limit)
		require.NoError(t, err)
		assert.Equal(t, a, first)
	}
}

func TestAnyBodyComesBack(t *testing.T) {
	c := New(Config{Above: -1})
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "piece")
		body := bytes.Repeat(piece, rapid.IntRange(1, 3000).Draw(t, "times"))
		m := rapid.SampledFrom(methods).Draw(t, "method")
		out, ok := c.Compress(nil, m, body)
		if !ok {
			return
		}
		got, err := c.Decompress(nil, m, out, limit)
		if err != nil || !bytes.Equal(body, got) || len(out) >= len(body) {
			t.Fatalf("%d bytes, %d compressed, %d back, err %v", len(body), len(out), len(got), err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	const most = 100 << 10
	c := New(Config{Above: -1})
	for _, m := range methods {
		for _, body := range [][]byte{orders(3000), make([]byte, most), make([]byte, 3*most)} {
			out, _ := New(Config{Above: -1}).Compress(nil, m, body)
			f.Add(uint8(m), out)
		}
	}
	f.Add(uint8(zst), lying(most))
	f.Add(uint8(zst), zeros(f, most+1))
	f.Add(uint8(blk), binary.AppendUvarint(nil, most))
	f.Fuzz(func(t *testing.T, m uint8, data []byte) {
		body, err := c.Decompress(nil, abstract.CompressMethod(m), data, most)
		if err != nil {
			require.Contains(t, []abstract.RCode{abstract.TooLarge, abstract.ParseFailed, abstract.Unsupported}, abstract.CodeOf(err))
			return
		}
		require.LessOrEqual(t, len(body), most)
		again, err := c.Decompress(nil, abstract.CompressMethod(m), data, most)
		require.NoError(t, err)
		require.True(t, bytes.Equal(body, again))
	})
}

func BenchmarkCompress(b *testing.B) {
	c := New(Config{Above: -1})
	for _, m := range methods {
		for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10} {
			body := orders(size)
			out, ok := c.Compress(nil, m, body)
			if !ok {
				b.Fatal("not smaller")
			}
			name := fmt.Sprintf("%v/%dKiB", m, size>>10)
			b.Run(name+"/encode", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					c.Compress(nil, m, body)
				}
				b.ReportMetric(float64(len(body))/float64(len(out)), "ratio")
			})
			b.Run(name+"/decode", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					_, _ = c.Decompress(nil, m, out, limit)
				}
			})
		}
	}
}
