package requestor

// An id is 16 hexadecimal digits: the slot of its call, so that a response finds
// it without hashing, and a number that differs between the calls of one slot, so
// that a late response does not hit the slot's next call. Peers only echo it.
const (
	idLen  = 16
	digits = "0123456789abcdef"
)

func formatID(b *[idLen]byte, slot, salt uint32) {
	v := uint64(slot)<<32 | uint64(salt)
	for i := idLen - 1; i >= 0; i-- {
		b[i] = digits[v&15]
		v >>= 4
	}
}

// slotOf reads the slot of an id; not ok when the id is none of ours.
func slotOf(id string) (slot uint32, ok bool) {
	if len(id) != idLen {
		return 0, false
	}
	for i := range idLen / 2 {
		c := id[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		slot = slot<<4 | uint32(c)
	}
	return slot, true
}
