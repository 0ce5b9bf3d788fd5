package abstract

import (
	"context"
	"time"
)

// What every Store takes. More is refused with TooLarge before anything is done.
const (
	StoreMaxKey      = 4 << 10              // bytes of a key, or of a prefix
	StoreMaxValue    = 1<<20 + 4<<10        // bytes of a value: 1 MiB of somebody's data, and a header of ours
	StoreMaxCompares = 128                  // comparisons of a transaction
	StoreMaxOps      = 1024                 // operations of a transaction
	StoreMaxTxn      = 8<<20 + 512<<10      // bytes of keys and values of a transaction, comparisons included
	StoreMaxTTL      = 365 * 24 * time.Hour // of a lease; a longer one is InvalidParams
)

// Store keeps what has to be agreed on, and what has to survive, as revisioned
// keys. It is etcd's model, small: every transaction that changes something has a
// revision above all others, and every change is told in revision order. Safe for
// concurrent use.
//
// Transactions are linearizable. Range and Follow are local: they show one past
// state after another, and may be behind what was acknowledged. Sync catches up.
type Store interface {
	// Txn applies ops when all comparisons hold, all or nothing, and returns
	// Succeeded false otherwise. An error of code UnknownFate means that the
	// transaction may still take effect, even after later ones: guard it by a
	// comparison, never repeat it blindly. Every other error means that nothing
	// was done and nothing will be. NotFound: an operation's lease is gone.
	Txn(ctx context.Context, t Txn) (TxnResult, error)
	// Range returns the keys below prefix in byte order, at most limit when
	// limit is above 0, and the revision at which they were read.
	Range(ctx context.Context, prefix string, limit int) ([]KV, int64, error)
	// Sync returns once Range and all followers have what anybody had been
	// acknowledged before the call, and the revision up to which that is.
	Sync(ctx context.Context) (int64, error)
	// Instant says that Txn and Sync wait for no disk, network or other process.
	Instant() bool
	// Epoch names the history in which revisions count: a revision read under
	// another epoch means nothing. It never changes while a Store is open.
	Epoch() string
	// Follow calls fn with every change below prefix that Range did not show
	// before it was called, one revision at a time and in order. Changes made
	// through this Store are told before Txn returns, or after it, by the driver;
	// compare revisions. A driver that was cut off from its engine for so long
	// that the engine has forgotten the changes in between tells the whole
	// difference as one Change; a key that was deleted and made again meanwhile
	// stands in it as one put, with a new CreateRevision.
	// fn must not block and must not call the Store. stop returns when fn will
	// not be called again.
	Follow(prefix string, fn func(Change)) (stop func())
	// Grant makes a lease: keys that are put with it are deleted, all at one
	// revision, when it was not kept alive for ttl. They go a little later than
	// that, never earlier. A driver may lengthen a short ttl (etcd's least is
	// 2 s, and whole seconds).
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// KeepAlive gives a lease its full ttl again. NotFound: it has ended.
	KeepAlive(ctx context.Context, id LeaseID) error
	// Revoke ends a lease at once and deletes its keys, told as ordinary changes.
	// NotFound: it had ended. After another error it may or may not have.
	Revoke(ctx context.Context, id LeaseID) error
	// Close ends all followers. The Store is not used after it. Leases are left
	// to the engine, if it lives on.
	Close() error
}

// LeaseID names a lease of one Store. 0 is none.
type LeaseID int64

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
	// Prefix turns the comparison into "no key that begins with Key was made after
	// revision Rev"; with Rev 0: no key begins with it. It goes with CompareCreate.
	Prefix bool
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
// changes nothing. A put binds the key to Lease and to no other: without one, the
// key stays until it is deleted.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
	Lease  LeaseID
}

// TxnResult is what became of a transaction.
type TxnResult struct {
	Succeeded bool
	Changed   bool  // some key was put or deleted; followers of its prefix are told
	Revision  int64 // its own when Changed, else the one at which it was judged
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
