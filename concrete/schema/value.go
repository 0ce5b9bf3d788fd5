package schema

import (
	"cmp"
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// The types of JSON Schema that are looked for by name.
const (
	boolean = "boolean"
	integer = "integer"
	number  = "number"
	text    = "string"
	array   = "array"
	object  = "object"
	null    = "null"
)

// typeOf returns the type of a value that was decoded with numbers as text.
func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return null
	case bool:
		return boolean
	case string:
		return text
	case json.Number:
		if integral(string(v)) {
			return integer
		}
		return number
	case []any:
		return array
	}
	return object
}

// word is a type as descriptions of methods call it.
func word(typ string) string {
	if typ == boolean {
		return "bool"
	}
	return typ
}

// words are types in an error. That null would do is not said.
func words(types []string) string {
	var list []string
	for _, t := range types {
		if t != null || len(types) == 1 {
			list = append(list, word(t))
		}
	}
	return strings.Join(list, " or ")
}

// integral reports whether a number has no fraction, however it is written.
func integral(s string) bool {
	mantissa, power, _ := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	fraction = strings.TrimRight(fraction, "0")
	if strings.Trim(whole+fraction, "0") == "" {
		return true
	}
	exponent := 0
	if power != "" {
		n, err := strconv.ParseInt(strings.TrimPrefix(power, "+"), 10, 32)
		if err != nil { // beyond all digits that there can be
			return !strings.HasPrefix(power, "-")
		}
		exponent = int(n)
	}
	if fraction != "" {
		return exponent >= len(fraction)
	}
	return -exponent <= len(whole)-len(strings.TrimRight(whole, "0"))
}

// What is compared exactly: longer numbers take time that grows with the square, and
// larger ones memory that grows with their value.
const (
	maxExact = 64
	maxPower = 400
)

// amount is a number to be compared with.
func amount(s string) *big.Float {
	_, power, _ := strings.Cut(strings.ToLower(s), "e")
	e, err := strconv.ParseInt(cmp.Or(power, "0"), 10, 32)
	if len(s) <= maxExact && err == nil && e >= -maxPower && e <= maxPower {
		if f, _, err := big.ParseFloat(s, 10, 256, big.ToNearestEven); err == nil {
			return f
		}
	}
	f, _ := strconv.ParseFloat(s, 64) // infinite when it is out of range
	return big.NewFloat(f)
}

// bounded checks the bounds of a number.
func bounded(s *jsonschema.Schema, v json.Number) *fault {
	for _, b := range []struct {
		bound *float64
		fits  func(order int) bool
		words string
	}{
		{s.Minimum, func(order int) bool { return order >= 0 }, "at least"},
		{s.Maximum, func(order int) bool { return order <= 0 }, "at most"},
		{s.ExclusiveMinimum, func(order int) bool { return order > 0 }, "above"},
		{s.ExclusiveMaximum, func(order int) bool { return order < 0 }, "below"},
	} {
		if b.bound != nil && !b.fits(amount(string(v)).Cmp(big.NewFloat(*b.bound))) {
			return faultf("must be %s %s, not %s", b.words, strconv.FormatFloat(*b.bound, 'f', -1, 64), short(string(v)))
		}
	}
	if s.MultipleOf != nil {
		f, _ := amount(string(v)).Float64()
		if _, rest := math.Modf(f / *s.MultipleOf); rest != 0 {
			return faultf("must be a multiple of %s", strconv.FormatFloat(*s.MultipleOf, 'f', -1, 64))
		}
	}
	return nil
}

// equal compares a value of a schema with one that came.
func (c *checker) equal(want, got any) bool {
	switch want := want.(type) {
	case float64:
		n, ok := got.(json.Number)
		return ok && c.amountOf(string(n)).Cmp(big.NewFloat(want)) == 0
	case []any:
		list, ok := got.([]any)
		c.left -= len(want)
		return ok && slices.EqualFunc(want, list, c.equal)
	case map[string]any:
		members, ok := got.(map[string]any)
		if !ok || len(members) != len(want) {
			return false
		}
		for name, v := range want {
			c.left--
			m, there := members[name]
			if !there || !c.equal(v, m) {
				return false
			}
		}
		return true
	case nil:
		return got == nil
	case bool:
		return got == want
	case string:
		return got == want
	}
	return false
}

// amountOf is amount, which is asked again and again for one number and a list of values.
func (c *checker) amountOf(number string) *big.Float {
	if c.amount == nil || c.number != number {
		c.number, c.amount = number, amount(number)
	}
	return c.amount
}

// canonical is a text that is the same for equal values.
func canonical(v any) string {
	plain, err := json.Marshal(canon(v))
	if err != nil {
		return "" // decoded values can always be written
	}
	return string(plain)
}

// canon gives equal numbers one look.
func canon(v any) any {
	switch v := v.(type) {
	case json.Number:
		return amount(string(v)).Text('g', 40)
	case string:
		return "s" + v // no number looks like that
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			list = append(list, canon(e))
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, e := range v {
			members[name] = canon(e)
		}
		return members
	}
	return v
}
