package link

// inlineRounds bounds how long a caller of Flush writes for others.
const inlineRounds = 8

// writeInline is called by the owner: it writes as long as the socket takes
// everything at once, and leaves the rest to a goroutine.
func (c *Conn) writeInline() {
	b := newBatch()
	for range inlineRounds {
		if !c.out.next(b, batchBytes) {
			b.free()
			return
		}
		b.fill()
		if b.left > 0 {
			n, err := c.wire.TryWrite(b.rest)
			if err != nil {
				c.abort(b, err)
				return
			}
			if b.advance(n); b.left > 0 {
				break
			}
		}
		b.reset()
	}
	go c.write(b)
}

// write is the goroutine of an owner whose socket is full: it writes until nothing
// waits any more. b may hold the rest of a batch.
func (c *Conn) write(b *batch) {
	for {
		for b.left > 0 {
			if err := c.wire.Write(b.cut(slowBytes)); err != nil {
				c.abort(b, err)
				return
			}
		}
		b.reset()
		if !c.out.next(b, slowBytes) {
			b.free()
			return
		}
		b.fill()
	}
}

// abort closes after a failed write, and gives ownership back.
func (c *Conn) abort(b *batch, err error) {
	c.Close(lost("write", err))
	b.reset()
	c.out.next(b, slowBytes) // finds the outbox closed
	b.free()
}
