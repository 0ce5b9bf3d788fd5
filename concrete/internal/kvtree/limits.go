package kvtree

import (
	"time"

	"trefoil/abstract"
)

// fewOps is up to how many operations are compared with one another to find two
// on one key. A set would cost more than that, and an allocation.
const fewOps = 12

// CheckTxn returns the first thing wrong with a transaction. A driver calls it
// before anything else.
func CheckTxn(t abstract.Txn) error {
	if len(t.If) > abstract.StoreMaxCompares || len(t.Then) > abstract.StoreMaxOps {
		return tooLarge("%d comparisons and %d operations; a transaction takes %d and %d, split it",
			len(t.If), len(t.Then), abstract.StoreMaxCompares, abstract.StoreMaxOps)
	}
	size := 0
	for i := range t.If {
		if err := checkCompare(&t.If[i]); err != nil {
			return err
		}
		size += len(t.If[i].Key) + len(t.If[i].Value)
	}
	for i := range t.Then {
		if err := checkOp(&t.Then[i]); err != nil {
			return err
		}
		size += len(t.Then[i].Key) + len(t.Then[i].Value)
	}
	if size > abstract.StoreMaxTxn {
		return tooLarge("keys and values of %d bytes; a transaction takes %d, split it", size, abstract.StoreMaxTxn)
	}
	return checkDistinct(t.Then)
}

// CheckTTL returns what is wrong with a lease's time to live.
func CheckTTL(ttl time.Duration) error {
	if ttl > 0 && ttl <= abstract.StoreMaxTTL {
		return nil
	}
	err := abstract.Errorf(abstract.InvalidParams, "a lease for %v; a store takes more than 0 and at most %v", ttl, abstract.StoreMaxTTL)
	err.Op = "grant"
	return err
}

func checkCompare(c *abstract.Compare) error {
	if c.Target > abstract.CompareValue {
		return invalid("comparison target %d is not known", c.Target)
	}
	if c.Prefix && (c.Target != abstract.CompareCreate || c.Rev < 0) {
		return invalid("a comparison of a prefix says that nothing below it is younger than a revision: compare the create revision with that, or with 0 for nothing at all")
	}
	if len(c.Value) > abstract.StoreMaxValue {
		return tooLarge("a value of %d bytes; a store takes %d, keep large data elsewhere", len(c.Value), abstract.StoreMaxValue)
	}
	return checkKey(c.Key)
}

func checkOp(op *abstract.Op) error {
	if len(op.Value) > abstract.StoreMaxValue {
		return tooLarge("a value of %d bytes; a store takes %d, keep large data elsewhere", len(op.Value), abstract.StoreMaxValue)
	}
	if op.Lease < 0 {
		return invalid("lease %d is below 0; a lease is what Grant returned, or 0 for none", op.Lease)
	}
	return checkKey(op.Key)
}

func checkKey(key string) error {
	if key == "" {
		return invalid("a key is empty")
	}
	if len(key) > abstract.StoreMaxKey {
		return tooLarge("a key of %d bytes; a store takes %d", len(key), abstract.StoreMaxKey)
	}
	return nil
}

// checkDistinct refuses two operations on one key: their order would decide.
func checkDistinct(ops []abstract.Op) error {
	if len(ops) <= fewOps {
		for i := range ops {
			for j := range i {
				if ops[i].Key == ops[j].Key {
					return twice(ops[i].Key)
				}
			}
		}
		return nil
	}
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		seen[ops[i].Key] = struct{}{}
		if len(seen) <= i {
			return twice(ops[i].Key)
		}
	}
	return nil
}

func twice(key string) error {
	return invalid("key %q stands in two operations; a transaction changes a key once", key)
}

func invalid(format string, args ...any) error { return fault(abstract.InvalidParams, format, args) }

func tooLarge(format string, args ...any) error { return fault(abstract.TooLarge, format, args) }

func fault(code abstract.RCode, format string, args []any) error {
	err := abstract.Errorf(code, format, args...)
	err.Op = "txn"
	return err
}
