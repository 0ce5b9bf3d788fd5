package abstract

import "context"

// Store keeps the registry's and the topics' definitions as revisioned keys. It
// is etcd's model, small: every transaction that changes something has the next
// revision, and every change is told in revision order. Safe for concurrent use.
type Store interface {
	// Txn applies ops when all comparisons hold, all or nothing, and returns
	// Succeeded false otherwise. An error of code UnknownFate means that the
	// transaction may still take effect: guard it by a comparison, never
	// repeat it blindly.
	Txn(ctx context.Context, t Txn) (TxnResult, error)
	// Range returns the keys below prefix in byte order, at most limit when
	// limit is above 0, and the revision at which they were read.
	Range(ctx context.Context, prefix string, limit int) ([]KV, int64, error)
	// Follow calls fn with every change below prefix after it was called, one
	// revision at a time and in order. Changes made through this Store are
	// told before Txn returns, or after it, by the driver; compare revisions.
	// fn must not block and must not call the Store. stop returns when fn will
	// not be called again.
	Follow(prefix string, fn func(Change)) (stop func())
	// Close ends all followers. The Store is not used after it.
	Close() error
}

// KV is a key with its value. Value must not be changed.
type KV struct {
	Key            string
	Value          []byte
	CreateRevision int64 // the revision that made the key
	ModRevision    int64 // the revision of its last change
}

// Txn is a list of comparisons and, when all of them hold, of operations. A key
// stands in at most one operation.
type Txn struct {
	If   []Compare
	Then []Op
}

// Compare is one condition.
type Compare struct {
	Key    string
	Target CompareTarget
	Rev    int64  // for CompareCreate and CompareMod; 0 means that the key is not there
	Value  []byte // for CompareValue
}

// CompareTarget says what of a key is compared, always for equality.
type CompareTarget uint8

// What can be compared.
const (
	CompareCreate CompareTarget = iota // CreateRevision == Rev
	CompareMod                         // ModRevision == Rev
	CompareValue                       // there, and Value the same bytes
)

// Op puts a key, or deletes it when Delete is set. Deleting what is not there
// changes nothing.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
}

// TxnResult is what became of a transaction.
type TxnResult struct {
	Succeeded bool
	Changed   bool  // some key was put or deleted; followers of its prefix are told
	Revision  int64 // of the store after it
}

// Change is everything that one revision changed below a followed prefix.
type Change struct {
	Revision int64
	Events   []Event
}

// Event is one changed key. For a deleted key KV holds the key and the revision
// of the deletion, and Prev what was there.
type Event struct {
	Deleted bool
	KV      KV
	Prev    *KV // nil for a key that was not there before
}
