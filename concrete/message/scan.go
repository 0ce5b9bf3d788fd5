package message

// scanner walks over JSON text (RFC 8259, nothing else: no byte-order mark, no
// comments) without reflection, recursion or allocation, and validates all of
// it, also what it skips. It takes whatever depth the text has and notes it.
type scanner struct {
	b       []byte
	depth   int      // open brackets
	deepest int      // the highest that depth has been
	objects uint64   // a bit for each of the first 64 levels: is it an object?
	more    []uint64 // the same for deeper levels
}

// member is one name and value of an object.
type member struct {
	name  []byte // as it is written, between the quotes
	plain bool   // nothing in name stands for something else: no escapes, only ASCII
	value []byte
}

// members calls yield with each member of the object that is the whole text. ok
// is false when the text is no such object. When yield returns false it ends
// there, and what follows is not looked at.
func (s *scanner) members(yield func(member) bool) (ok bool) {
	i := skipSpace(s.b, 0)
	if at(s.b, i) != '{' {
		return false
	}
	s.push(true)
	if i = skipSpace(s.b, i+1); at(s.b, i) == '}' {
		return s.ends(i + 1)
	}
	for {
		m, next := s.member(i)
		if next == 0 {
			return false
		}
		if !yield(m) {
			return true
		}
		i = skipSpace(s.b, next)
		switch at(s.b, i) {
		case '}':
			return s.ends(i + 1)
		case ',':
			i = skipSpace(s.b, i+1)
		default:
			return false
		}
	}
}

// member reads the member at i. next is where it ends, 0 when there is none.
func (s *scanner) member(i int) (m member, next int) {
	end, plain := skipText(s.b, i)
	if end == 0 {
		return m, 0
	}
	m.name, m.plain = s.b[i+1:end-1], plain
	if i = skipColon(s.b, end); i == 0 {
		return m, 0
	}
	if next = s.skip(i); next != 0 {
		m.value = s.b[i:next:next]
	}
	return m, next
}

// ends reports whether nothing but space stands from i on.
func (s *scanner) ends(i int) bool { return skipSpace(s.b, i) == len(s.b) }

// skip returns where the value at i ends, 0 when there is none.
func (s *scanner) skip(i int) int {
	b, floor := s.b, s.depth
	for {
		switch c := at(b, i); c {
		case '"':
			i, _ = skipText(b, i)
		case '{', '[':
			s.push(c == '{')
			if i = skipSpace(b, i+1); at(b, i) == c+2 { // the closing bracket is two further in ASCII
				s.depth--
				i++
				break
			}
			if c == '{' {
				if i = skipKey(b, i); i == 0 {
					return 0
				}
			}
			continue
		case 't':
			i = skipWord(b, i, "true")
		case 'f':
			i = skipWord(b, i, "false")
		case 'n':
			i = skipWord(b, i, "null")
		default:
			i = skipNumber(b, i)
		}
		if i == 0 || s.depth == floor {
			return i
		}
		if i = s.after(i, floor); i == 0 || s.depth == floor {
			return i
		}
	}
}

// after skips what may follow a value inside brackets: closing ones down to the
// level floor, or a comma and what stands before the next value.
func (s *scanner) after(i, floor int) int {
	b := s.b
	for s.depth > floor {
		i = skipSpace(b, i)
		object := s.inObject()
		switch c := at(b, i); {
		case c == ',' && object:
			return skipKey(b, skipSpace(b, i+1))
		case c == ',':
			return skipSpace(b, i+1)
		case object && c == '}', !object && c == ']':
			s.depth--
			i++
		default:
			return 0
		}
	}
	return i
}

// push notes that a bracket was opened. One bit a level is enough: the deepest
// nesting that fits a frame takes an eighth of that frame's size.
func (s *scanner) push(object bool) {
	level := s.depth
	s.depth++
	s.deepest = max(s.deepest, s.depth)
	word := &s.objects
	if level >= 64 {
		i := level/64 - 1
		if i == len(s.more) {
			s.more = append(s.more, 0)
		}
		word = &s.more[i]
	}
	bit := uint64(1) << (level % 64)
	*word &^= bit
	if object {
		*word |= bit
	}
}

func (s *scanner) inObject() bool {
	level := s.depth - 1
	if level < 64 {
		return s.objects>>level&1 == 1
	}
	return s.more[level/64-1]>>(level%64)&1 == 1
}
