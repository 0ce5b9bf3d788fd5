package jetstream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	deleteMessage = "$JS.API.STREAM.MSG.DELETE."
	// maxDeletes is how many requests the server has at a time: it answers them one by one.
	maxDeletes = 256

	// purgeFrom is how many entries at the beginning of a log are deleted together.
	purgeFrom = 8

	codeNoSequence   = 10043
	codeDeleteFailed = 10057
)

// Delete removes single entries. They are marked as gone: their bytes leave the disk when
// JetStream puts a block together anew. Overwriting them would put the entries beside them
// at risk, when the machine stops in the middle of it.
func (l *log) Delete(ctx context.Context, offsets ...uint64) error {
	if l.life.Err() != nil {
		return context.Cause(l.life)
	}
	if err := l.allowHoles(ctx); err != nil {
		return l.fault("delete from a topic's log", err)
	}
	offsets = slices.DeleteFunc(slices.Clone(offsets), func(o uint64) bool { return o == 0 })
	if len(offsets) >= purgeFrom {
		var err error
		if offsets, err = l.purge(ctx, offsets); err != nil {
			return l.fault("delete from a topic's log", err)
		}
	}
	for part := range slices.Chunk(offsets, maxDeletes) {
		if err := l.deleteSome(ctx, part); err != nil {
			return l.fault("delete from a topic's log", err)
		}
	}
	return nil
}

// purge deletes those of many entries that the log begins with, all at once: each one by
// itself is synced. It returns the others.
func (l *log) purge(ctx context.Context, offsets []uint64) (rest []uint64, err error) {
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	stream, err := l.s.js.Stream(ctx, l.stream)
	if err != nil {
		return nil, err
	}
	first := stream.CachedInfo().State.FirstSeq
	slices.Sort(offsets)
	offsets = slices.Compact(offsets)
	gone, _ := slices.BinarySearch(offsets, first)
	offsets = offsets[gone:]
	n := 0
	for n < len(offsets) && offsets[n] == first+uint64(n) {
		n++
	}
	if n < purgeFrom {
		return offsets, nil
	}
	return offsets[n:], stream.Purge(ctx, jetstream.WithPurgeSequence(first+uint64(n)))
}

// allowHoles notes with the stream that entries were deleted from it: in others, what is
// missing is damaged.
func (l *log) allowHoles(ctx context.Context) error {
	if l.holes.Load() {
		return nil
	}
	l.setup.Lock()
	defer l.setup.Unlock()
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	stream, err := l.s.js.Stream(ctx, l.stream)
	if err != nil {
		return err
	}
	have := stream.CachedInfo().Config
	if have.Metadata[metaHoles] == "" {
		have.Metadata = maps.Clone(have.Metadata)
		have.Metadata[metaHoles] = "1"
		if _, err := l.s.js.UpdateStream(ctx, have); err != nil {
			return err
		}
	}
	l.holes.Store(true)
	return nil
}

// deleteSome deletes what one round of requests can. A request that nobody took is sent
// again: between two leaders nobody does.
func (l *log) deleteSome(ctx context.Context, offsets []uint64) error {
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	for {
		err := l.deleteOnce(ctx, offsets)
		if !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
		if err := l.absent(ctx); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// deleteOnce sends the requests together, and waits for their answers.
func (l *log) deleteOnce(ctx context.Context, offsets []uint64) error {
	to, answered, leave := l.s.answers.group(len(offsets))
	defer leave()
	for i, o := range offsets {
		m := &nats.Msg{Subject: deleteMessage + l.stream, Reply: to + strconv.Itoa(i)}
		m.Data = append(strconv.AppendUint([]byte(`{"no_erase":true,"seq":`), o, 10), '}')
		if err := l.s.nc.PublishMsg(m); err != nil {
			return err
		}
	}
	var failed error
	for range offsets {
		select {
		case a := <-answered:
			if _, err := answerOf(a.m); err != nil && failed == nil && !l.without(ctx, offsets[a.i], err) {
				failed = err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return failed
}

// without says whether JetStream had nothing to delete. It has a code for that, and one for
// everything else, which it also gives where the entry is beyond what there is.
func (l *log) without(ctx context.Context, offset uint64, err error) bool {
	var e *jetstream.APIError
	if !errors.As(err, &e) || e.ErrorCode != codeNoSequence && e.ErrorCode != codeDeleteFailed {
		return false
	}
	if e.ErrorCode == codeNoSequence {
		return true
	}
	list, err := l.get(ctx, getRequest{Sequence: offset, Batch: 1, MaxBytes: 1})
	return err == nil && (len(list) == 0 || list[0].Offset != offset)
}
