package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"strconv"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// A heartbeat is one UDP datagram that nobody answers:
//
//	magic "TFHB"  4 bytes
//	version 1     1 byte
//	session id   16 bytes
//	sequence      8 bytes, most significant first; higher than that of all before
//	mac          16 bytes: the first of HMAC-SHA-256 over all before, keyed with the secret
const (
	DatagramSize = 45

	magic   = "TFHB"
	version = 1

	idAt       = len(magic) + 1
	sequenceAt = idAt + len(ID{})
	macAt      = sequenceAt + 8
	macSize    = DatagramSize - macAt
)

// Beater makes the heartbeats of one session. It is not safe for concurrent use.
type Beater struct {
	id       ID
	secret   Secret
	sequence uint64
}

// NewBeater makes the Beater of a session that a server granted. sequence is that
// of the last heartbeat sent for it, over whatever connections: 0 for a new one.
// The error is InvalidMessage: the server's id or secret is none.
func NewBeater(g *message.SessionGrant, sequence uint64) (*Beater, error) {
	id, ok1 := ParseID(g.ID)
	secret, ok2 := ParseSecret(g.Secret)
	if !ok1 || !ok2 {
		return nil, abstract.Errorf(abstract.InvalidMessage,
			"the server granted a session with an id of %d and a secret of %d characters; these must be %d and %d hexadecimal digits",
			len(g.ID), len(g.Secret), 2*len(id), 2*len(secret))
	}
	return &Beater{id: id, secret: secret, sequence: sequence}, nil
}

// Append appends the next heartbeat. Each is sent once.
func (b *Beater) Append(dst []byte) []byte {
	b.sequence++
	return appendDatagram(dst, b.id, &b.secret, b.sequence)
}

// Sequence returns the sequence of the last heartbeat or HELLO.
func (b *Beater) Sequence() uint64 { return b.sequence }

// Claim returns the sequence that a HELLO names which resumes the session: each
// another one, so that neither it nor any heartbeat before it can be used again.
func (b *Beater) Claim() uint64 {
	b.sequence++
	return b.sequence
}

func appendDatagram(dst []byte, id ID, secret *Secret, sequence uint64) []byte {
	start := len(dst)
	dst = append(append(dst, magic...), version)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, sequence)
	mac := macOf(secret, (*[macAt]byte)(dst[start:]))
	return append(dst, mac[:]...)
}

// macOf is HMAC-SHA-256 for a message of our one size, on the stack: what a
// stranger sends must not make garbage.
func macOf(secret *Secret, text *[macAt]byte) (mac [macSize]byte) {
	var inner [sha256.BlockSize + macAt]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		var k byte
		if i < len(secret) {
			k = secret[i]
		}
		inner[i], outer[i] = k^0x36, k^0x5c
	}
	copy(inner[sha256.BlockSize:], text[:])
	sum := sha256.Sum256(inner[:])
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	return [macSize]byte(sum[:])
}

// Beat is what became of a heartbeat.
type Beat uint8

// What can become of one. All but Renewed change nothing but a counter.
const (
	BeatRenewed   Beat = iota // its session has shown a sign of life
	BeatMalformed             // it has not the form of a heartbeat
	BeatUnknown               // no such session is alive, or it has not been resumed since this broker started
	BeatReplayed              // its sequence is not above the last
	BeatForged                // its mac is wrong
	beatResults
)

// String returns the result's word.
func (b Beat) String() string {
	words := [...]string{"renewed", "malformed", "unknown", "replayed", "forged"}
	if int(b) < len(words) {
		return words[b]
	}
	return "beat " + strconv.Itoa(int(b))
}

// BeatUDP takes a datagram that came at now. It is not kept. The cheapest test
// comes first: of what a stranger can send, only a datagram that names a living
// session and a higher sequence costs a hash.
func (m *SessionManager) BeatUDP(datagram []byte, now time.Duration) Beat {
	b := m.judge(datagram, now)
	m.stats.beats[b]++
	return b
}

func (m *SessionManager) judge(datagram []byte, now time.Duration) Beat {
	if len(datagram) != DatagramSize || string(datagram[:len(magic)]) != magic || datagram[len(magic)] != version {
		return BeatMalformed
	}
	e := m.sessions[ID(datagram[idAt:])]
	if e == nil || e.ending || !e.keyed {
		return BeatUnknown
	}
	sequence := binary.BigEndian.Uint64(datagram[sequenceAt:])
	if sequence <= e.sequence {
		return BeatReplayed
	}
	mac := macOf(&e.secret, (*[macAt]byte)(datagram))
	if subtle.ConstantTimeCompare(mac[:], datagram[macAt:]) != 1 {
		return BeatForged
	}
	e.sequence = sequence
	e.hear(now)
	return BeatRenewed
}
