package link

import "sync"

// inbound holds received bytes until the worker of the connection takes them.
// There is a worker while there is something for it to do.
type inbound struct {
	mu      sync.Mutex
	chunks  [][]byte
	one     [1][]byte     // what chunks is made of as a rule
	bytes   int           // in chunks, plus what the worker took and has not handed over
	room    chan struct{} // closed when a waiting reader may go on; nil while none waits
	started bool          // the Receiver is there; no worker before
	busy    bool          // a worker runs
	deaf    bool          // what arrives is dropped
	eof     error         // the peer's end, or a read error; comes after the chunks
	closed  bool          // the connection is closed; OnClose comes after the chunks
}

// what a worker does next
type task int

const (
	taskNone  task = iota // nothing: the worker ends
	taskBytes             // a chunk
	taskEOF               // close: the peer did
	taskClose             // call OnClose
)

// put appends a copy of p. It reports whether a worker must be started, and false
// for fits when more than limit bytes would wait.
func (in *inbound) put(p []byte, limit int) (start, fits bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.deaf || in.closed || in.eof != nil {
		return false, true
	}
	if in.bytes+len(p) > limit {
		in.deaf = true
		return false, false
	}
	in.bytes += len(p)
	last := len(in.chunks) - 1
	if last >= 0 && len(in.chunks[last])+len(p) <= mergeBytes {
		in.chunks[last] = appendGrow(in.chunks[last], p)
	} else {
		if last < 0 {
			in.chunks = in.one[:0]
		}
		in.chunks = append(in.chunks, appendGrow(nil, p))
	}
	return in.start(), true
}

// start reports whether a worker must be started now. It is called with the lock held.
func (in *inbound) start() bool {
	if in.busy || !in.started {
		return false
	}
	in.busy = len(in.chunks) > 0 || in.eof != nil || in.closed
	return in.busy
}

// set changes in under its lock, and reports whether a worker must be started.
func (in *inbound) set(change func(*inbound)) (start bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change(in)
	in.wake()
	return in.start()
}

// next returns the worker's next task.
func (in *inbound) next() (t task, chunk []byte, eof error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(in.chunks) > 0:
		chunk = in.chunks[0]
		in.chunks[0] = nil
		if in.chunks = in.chunks[1:]; len(in.chunks) == 0 {
			in.chunks = nil
		}
		return taskBytes, chunk, nil
	case in.closed:
		return taskClose, nil, nil
	case in.eof != nil:
		return taskEOF, nil, in.eof
	}
	in.busy = false
	return taskNone, nil, nil
}

// release takes off n bytes that were handed over.
func (in *inbound) release(n int) {
	if n == 0 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bytes -= n
	in.wake()
}

// wake lets a waiting reader look again. It is called with the lock held.
func (in *inbound) wake() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}

// waitRoom blocks while more than limit bytes wait that a worker will hand over.
func (in *inbound) waitRoom(limit int) {
	for {
		in.mu.Lock()
		if in.bytes <= limit || !in.busy || in.deaf || in.closed {
			in.mu.Unlock()
			return
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		<-room
	}
}
