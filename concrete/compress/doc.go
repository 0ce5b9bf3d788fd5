// Package compress makes bodies of messages smaller, with zstd or s2, and makes
// them whole again.
//
// Each body stands for itself: nothing of one body is used for another, so that
// bodies may come in any order, be dropped, and be compressed once for many
// receivers. What a peer sends is never trusted to say how large it becomes. The
// limit is held while decoding, into memory that is used again and again, of which
// there is a bounded amount in the process; memory of its own is taken for a body
// when it is whole, and no more than it needs.
package compress
