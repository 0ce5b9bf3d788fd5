package node

import (
	"bytes"
	"strconv"

	"trefoil/concrete/message"
)

// record is the first line of a node's value. The data follows it, as it is:
//
//	{"version":2,"ctime_ms":1700000000000,"mtime_ms":1700000001000,"session":"0f..","by":"billing","key":"once"}
//
// The times are the broker's wall clock, and are never compared with anything.
type record struct {
	version int64
	ctime   int64
	mtime   int64
	session string // that the node belongs to; left out when empty
	maker   string // who has made it; left out when empty
	once    string // the idempotency key of its creation; left out when empty
}

const (
	versionMember = `{"version":`
	ctimeMember   = `,"ctime_ms":`
	mtimeMember   = `,"mtime_ms":`
	sessionMember = `,"session":"`
	makerMember   = `,"by":"`
)

// maxRecord is how long the first line is at most. A key of control characters
// takes six times its bytes.
const maxRecord = 2 << 10

// value returns what stands in the Store under the node's key.
func (r *record) value(data []byte) []byte {
	b := make([]byte, 0, 160+len(r.once)+len(data))
	b = strconv.AppendInt(append(b, versionMember...), r.version, 10)
	b = strconv.AppendInt(append(b, ctimeMember...), r.ctime, 10)
	b = strconv.AppendInt(append(b, mtimeMember...), r.mtime, 10)
	if r.session != "" {
		b = append(append(append(b, sessionMember...), r.session...), '"')
	}
	if r.maker != "" {
		b = append(append(append(b, makerMember...), r.maker...), '"')
	}
	if r.once != "" {
		if text, err := message.Encode(r.once); err == nil {
			b = append(append(b, `,"key":`...), text...)
		}
	}
	return append(append(b, '}', '\n'), data...)
}

// parseRecord reads a value and returns how long its first line is, with the end of
// it. What we do not understand is all data, of a permanent node.
func parseRecord(value []byte) (r record, head int) {
	head = bytes.IndexByte(value[:min(len(value), maxRecord)], '\n') + 1
	if head == 0 || value[0] != '{' {
		return record{version: 1}, 0
	}
	line := value[:head-1]
	if r, ok := usualRecord(line); ok {
		return r, head
	}
	var v struct {
		Version int64  `json:"version"`
		Ctime   int64  `json:"ctime_ms"`
		Mtime   int64  `json:"mtime_ms"`
		Session string `json:"session"`
		Maker   string `json:"by"`
		Once    string `json:"key"`
	}
	if message.Decode(line, &v) != nil {
		return record{version: 1}, 0
	}
	return record{max(v.Version, 1), v.Ctime, v.Mtime, v.Session, v.Maker, v.Once}, head
}

// usualRecord reads a line as we write it for a node without idempotency key.
func usualRecord(line []byte) (r record, ok bool) {
	if r.version, line, ok = number(line, versionMember); !ok || r.version < 1 {
		return r, false
	}
	if r.ctime, line, ok = number(line, ctimeMember); !ok {
		return r, false
	}
	if r.mtime, line, ok = number(line, mtimeMember); !ok {
		return r, false
	}
	if r.session, line, ok = word(line, sessionMember); !ok {
		return r, false
	}
	if r.maker, line, ok = word(line, makerMember); !ok {
		return r, false
	}
	return r, len(line) == 1 && line[0] == '}'
}

// word reads a member that is a plain text, if it is there.
func word(line []byte, member string) (text string, rest []byte, ok bool) {
	rest, found := bytes.CutPrefix(line, []byte(member))
	if !found {
		return "", line, true
	}
	end := bytes.IndexByte(rest, '"')
	if end < 0 || bytes.IndexByte(rest[:end], '\\') >= 0 {
		return "", nil, false
	}
	return string(rest[:end]), rest[end+1:], true
}

// number reads a member of digits.
func number(line []byte, member string) (n int64, rest []byte, ok bool) {
	rest, ok = bytes.CutPrefix(line, []byte(member))
	if !ok {
		return 0, nil, false
	}
	i := 0
	for ; i < len(rest) && i < 18 && rest[i] >= '0' && rest[i] <= '9'; i++ {
		n = n*10 + int64(rest[i]-'0')
	}
	return n, rest[i:], i > 0
}
