package memstore

import "trefoil/abstract"

const (
	maxKey   = 4 << 10
	maxValue = 1 << 20
	maxOps   = 128 // also how many comparisons
)

// checkTxn returns the first thing wrong with a transaction, before anything is done.
func checkTxn(t abstract.Txn) error {
	if len(t.If) > maxOps || len(t.Then) > maxOps {
		return tooLarge("%d comparisons and %d operations; a transaction takes %d of each, split it", len(t.If), len(t.Then), maxOps)
	}
	for i := range t.If {
		if err := checkCompare(&t.If[i]); err != nil {
			return err
		}
	}
	for i := range t.Then {
		if err := checkOp(&t.Then[i]); err != nil {
			return err
		}
	}
	return checkDistinct(t.Then)
}

func checkCompare(c *abstract.Compare) error {
	if c.Target > abstract.CompareValue {
		return invalid("comparison target %d is not known", c.Target)
	}
	return checkKey(c.Key)
}

func checkOp(op *abstract.Op) error {
	if len(op.Value) > maxValue {
		return tooLarge("a value of %d bytes; a store takes %d, keep large data elsewhere", len(op.Value), maxValue)
	}
	return checkKey(op.Key)
}

func checkKey(key string) error {
	if key == "" {
		return invalid("a key is empty")
	}
	if len(key) > maxKey {
		return tooLarge("a key of %d bytes; a store takes %d", len(key), maxKey)
	}
	return nil
}

// checkDistinct refuses two operations on one key: their order would decide.
func checkDistinct(ops []abstract.Op) error {
	if len(ops) < 2 {
		return nil
	}
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		seen[ops[i].Key] = struct{}{}
		if len(seen) <= i {
			return invalid("key %q stands in two operations; a transaction changes a key once", ops[i].Key)
		}
	}
	return nil
}

func invalid(format string, args ...any) error { return fault(abstract.InvalidParams, format, args) }

func tooLarge(format string, args ...any) error { return fault(abstract.TooLarge, format, args) }

func fault(code abstract.RCode, format string, args []any) error {
	err := abstract.Errorf(code, format, args...)
	err.Op = "txn"
	return err
}
