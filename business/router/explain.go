package router

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// misfit says which place of parameters does not fit the Go types that they are read
// into, and why: "address.zip" is a member of an object, "lines[2]" an element of an
// array. It is asked when they could not be read, and what is wrong is not that a
// parameter itself is missing or of the wrong kind.
func (d *Description) misfit(params message.Raw) error {
	method := d.Method
	look := newSearch()
	for _, f := range d.fields {
		value, ok := lastOf(params, f.Name)
		if !ok {
			continue
		}
		look.left = maxPlaces // for each: so another one's size hides nothing
		if p := look.inField(f, value, 0); p != nil {
			return abstract.Errorf(abstract.InvalidParams, "parameter %q of %s %s", p.in(member(f.Name)).path, method, p.problem)
		}
		if !f.quoted && message.Decode(value, reflect.New(f.goType).Interface()) != nil {
			return abstract.Errorf(abstract.InvalidParams, "parameter %q of %s does not fit: something inside it is not as it must be", f.Name, method)
		}
	}
	if len(d.fields) == 0 {
		if p := look.misplaced(d.in, params, 0); p != nil && p.path != "" {
			return abstract.Errorf(abstract.InvalidParams, "parameter %q of %s %s", p.path, method, p.problem)
		}
	}
	return abstract.Errorf(abstract.InvalidParams, "the parameters do not fit %s", method)
}

// lastOf returns the member of an object that counts when a name is there twice.
func lastOf(object message.Raw, name string) (value message.Raw, ok bool) {
	_ = message.Members(object, func(key string, v message.Raw) bool {
		if key == name {
			value, ok = v, true
		}
		return true
	})
	return value, ok
}

// misplacement is a place that does not fit.
type misplacement struct {
	path    string // from the value that was looked at; empty: that itself
	problem string // "must be string, not integer"
}

func misplacedf(format string, args ...any) *misplacement {
	return &misplacement{problem: fmt.Sprintf(format, args...)}
}

// in puts a place into what it was found in.
func (p *misplacement) in(step string) *misplacement {
	if p != nil {
		if p.path != "" && p.path[0] != '[' {
			step += "."
		}
		p.path = step + p.path
	}
	return p
}

// maxStep is how much of a name is shown.
const maxStep = 80

// member is the step to a member of an object.
func member(name string) string {
	if len(name) > maxStep {
		name = strings.ToValidUTF8(name[:maxStep], "") + "..."
	}
	if name == "" || strings.ContainsAny(name, `.[]" `) {
		return "[" + strconv.Quote(name) + "]"
	}
	return name
}

// What is gone into at most: levels, as each is read once more, and places, as each is
// read by itself, which takes many times what reading them together has taken.
const (
	maxLevels = 32
	maxPlaces = 1 << 13
)

// search is a look for the place that does not fit.
type search struct {
	left   int                      // places
	fields map[reflect.Type][]field // of the structs that were met
}

func newSearch() *search {
	return &search{left: maxPlaces, fields: make(map[reflect.Type][]field)}
}

// inField looks into the value of a field.
func (s *search) inField(f field, value message.Raw, level int) *misplacement {
	if !f.quoted {
		return s.misplaced(f.goType, value, level)
	}
	if found := message.KindOf(value); found != message.String && found != message.Null {
		return misplacedf("must be string, not %s", found)
	}
	t := pointedAt(f.goType)
	var inner string
	if message.Decode(value, &inner) == nil && message.Valid(message.Raw(inner)) == nil && s.misplaced(t, message.Raw(inner), level) == nil {
		return nil
	}
	return misplacedf("must be a string that holds %s", kindOf(t, reads))
}

// misplaced returns the first place in a value that a type cannot be read from; nil
// when none is found, also because there is too much to look at. Inside of parameters
// null is read as nothing.
func (s *search) misplaced(t reflect.Type, value message.Raw, level int) *misplacement {
	if s.left--; s.left < 0 {
		return nil
	}
	t = pointedAt(t)
	own := reads.own(t)
	if !own && message.KindOf(value) == message.Null {
		return nil
	}
	if own || level >= maxLevels {
		return leaf(t, value)
	}
	switch k := t.Kind(); {
	case k != reflect.Struct && k != reflect.Map && k != reflect.Slice && k != reflect.Array,
		!message.KindOf(value).Fits(kindOf(t, reads)), kindOf(t, reads) == message.String:
		return leaf(t, value)
	case k == reflect.Struct:
		return s.inStruct(t, value, level)
	case k == reflect.Map:
		return s.inMap(t, value, level)
	}
	return s.inArray(t, value, level)
}

func (s *search) inStruct(t reflect.Type, value message.Raw, level int) (found *misplacement) {
	fields, known := s.fields[t]
	if !known {
		fields = dominant(collect(t, false, 0, nil))
		s.fields[t] = fields
	}
	_ = message.Members(value, func(name string, v message.Raw) bool {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.Name == name }); i >= 0 {
			found = s.inField(fields[i], v, level+1).in(member(name))
		}
		return found == nil && s.left >= 0
	})
	return found
}

func (s *search) inMap(t reflect.Type, value message.Raw, level int) (found *misplacement) {
	names := reflect.MapOf(t.Key(), reflect.TypeFor[any]())
	_ = message.Members(value, func(name string, v message.Raw) bool {
		if quoted, err := json.Marshal(name); err == nil && message.Decode(slices.Concat([]byte("{"), quoted, []byte(":1}")), reflect.New(names).Interface()) != nil {
			found = misplacedf("is no name that a member can have here").in(member(name))
			return false
		}
		found = s.misplaced(t.Elem(), v, level+1).in(member(name))
		return found == nil && s.left >= 0
	})
	return found
}

func (s *search) inArray(t reflect.Type, value message.Raw, level int) (found *misplacement) {
	i := 0
	_ = message.Elements(value, func(v message.Raw) bool {
		found = s.misplaced(t.Elem(), v, level+1).in("[" + strconv.Itoa(i) + "]")
		i++
		return found == nil && s.left >= 0
	})
	return found
}

var timeType = reflect.TypeFor[time.Time]()

// leaf looks at a value that is not gone into.
func leaf(t reflect.Type, value message.Raw) *misplacement {
	want, found := kindOf(t, reads), message.KindOf(value)
	switch {
	case want == message.Invalid:
		return misplacedf("cannot be given; leave it out")
	case !found.Fits(want) && !(found == message.Null && reads.own(t)):
		return misplacedf("must be %s, not %s", want, found)
	case message.Decode(value, reflect.New(t).Interface()) == nil:
		return nil
	}
	switch {
	case t == timeType:
		return misplacedf(`does not fit: it must be a time such as "2006-01-02T15:04:05Z"`)
	case want == message.Integer && !reads.own(t):
		return misplacedf("does not fit: it must be %s", bounds(t))
	case want == message.Number:
		return misplacedf("does not fit: it is out of range")
	case want == message.String && t.Kind() == reflect.Slice && !reads.own(t):
		return misplacedf("does not fit: it must be base64")
	case want == message.Array, want == message.Object:
		return misplacedf("does not fit: something inside it is not as it must be")
	}
	return misplacedf("does not fit: it has no such value")
}

// bounds are those of an integer type, in words.
func bounds(t reflect.Type) string {
	if t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uintptr {
		return fmt.Sprintf("from 0 to %d", uint64(math.MaxUint64)>>(64-t.Bits()))
	}
	most := int64(math.MaxInt64) >> (64 - t.Bits())
	return fmt.Sprintf("from %d to %d", -most-1, most)
}
