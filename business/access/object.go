package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// reader takes the value of one key. at is where it stands, for errors.
type reader func(at string, value json.RawMessage) error

// readObject reads a JSON object whose keys are known. Keys are case-sensitive; an
// unknown one is an error, and so is one that comes twice: where permissions are
// written, a line without effect is a trap.
func readObject(at string, data []byte, known map[string]reader) error {
	return eachKey(at, data, func(key string, value json.RawMessage) error {
		read, ok := known[key]
		if !ok {
			return unknownKey(at, key, slices.Sorted(maps.Keys(known)))
		}
		return read(below(at, key), value)
	})
}

func unknownKey(at, key string, known []string) error {
	hint := "known are " + strings.Join(known, ", ")
	if n := nearest(key, known); n != "" {
		hint = fmt.Sprintf("did you mean %q?", n)
	}
	return fmt.Errorf("%sunknown key %s: %s", prefix(at), quote(key), hint)
}

// eachKey calls f with the keys of a JSON object, in their order.
func eachKey(at string, data []byte, f func(key string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return notJSON(at, "an object", err)
	}
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return notJSON(at, "a key", err)
		}
		if seen[key] {
			return fmt.Errorf("%sthe key %s is there twice: keep one", prefix(at), quote(key))
		}
		seen[key] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return notJSON(below(at, key), "a value", err)
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return notJSON(at, "the end of the object", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%sthere is text after the end of the object", prefix(at))
	}
	return nil
}

// notJSON does not repeat what stands there: it may be a secret in the wrong place.
func notJSON(at, wanted string, err error) error {
	var syn *json.SyntaxError
	switch {
	case errors.As(err, &syn):
		return fmt.Errorf("%sno valid JSON at byte %d: want %s", prefix(at), syn.Offset, wanted)
	case err != nil:
		return fmt.Errorf("%sthe JSON ends too early: want %s", prefix(at), wanted)
	}
	return fmt.Errorf("%swant %s", prefix(at), wanted)
}

// decode reads a simple value: a string, a list of strings, a number.
func decode[T any](at, wanted string, data json.RawMessage) (T, error) {
	var v *T
	if err := json.Unmarshal(data, &v); err != nil || v == nil {
		var zero T
		return zero, fmt.Errorf("%swant %s", prefix(at), wanted)
	}
	return *v, nil
}

// into is the reader that stores a simple value.
func into[T any](dst *T, wanted string) reader {
	return func(at string, value json.RawMessage) error {
		v, err := decode[T](at, wanted, value)
		*dst = v
		return err
	}
}

func below(at, key string) string {
	if strings.Contains(key, tokenPrefix) {
		key = hidden
	}
	if len(key) > maxQuoted {
		key = key[:maxQuoted] + "..."
	}
	if at == "" {
		return key
	}
	return at + "." + key
}

func prefix(at string) string {
	if at == "" {
		return ""
	}
	return at + ": "
}
