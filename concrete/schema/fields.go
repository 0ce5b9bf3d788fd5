package schema

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// field is a member that a struct reads and writes.
type field struct {
	name     string
	goType   reflect.Type
	doc      string
	optional bool // it may be left out when it is written
	quoted   bool // a scalar that is written as a string
	tagged   bool // its name is from a tag
	depth    int  // how many embedded structs it lies in
}

// hollow reports whether a field need not be given because it can hold nothing.
func (f field) hollow() bool {
	return f.goType.Kind() == reflect.Pointer || f.goType.Kind() == reflect.Interface
}

// fieldsOf returns the fields of a struct as encoding/json sees them: of several of
// one name the one in the fewest embedded structs, among those the one with a tag,
// and none when that does not decide.
func fieldsOf(t reflect.Type) []field {
	all := collect(t, false, 0, nil)
	return slices.DeleteFunc(slices.Clone(all), func(f field) bool {
		rivals := 0
		for _, g := range all {
			if g.name == f.name && !f.beats(g) {
				rivals++
			}
		}
		return rivals > 1 // itself is one
	})
}

func (f field) beats(g field) bool {
	return f.depth < g.depth || f.depth == g.depth && f.tagged && !g.tagged
}

// collect lists the fields of a struct and of those embedded in it. outer are the
// structs it is embedded in, which a struct cannot add to again.
func collect(t reflect.Type, optional bool, depth int, outer []reflect.Type) []field {
	if slices.Contains(outer, t) {
		return nil
	}
	outer = append(slices.Clone(outer), t)
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !validName(name) {
			name = ""
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case f.Anonymous && inner.Kind() == reflect.Struct && name == "":
			list = append(list, collect(inner, optional || inner != f.Type, depth+1, outer)...)
		case f.IsExported():
			list = append(list, newField(f, name, options, optional, depth))
		}
	}
	return list
}

// validName reports whether encoding/json takes a name from a tag.
func validName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	})
}

func newField(f reflect.StructField, name, options string, optional bool, depth int) field {
	all := strings.Split(options, ",")
	n := field{
		name: name, goType: f.Type, doc: docOf(f), tagged: name != "", depth: depth,
		optional: optional || slices.Contains(all, "omitempty") || slices.Contains(all, "omitzero"),
		quoted:   slices.Contains(all, "string") && quotable(f.Type),
	}
	if name == "" {
		n.name = f.Name
	}
	return n
}

// quotable reports whether the tag option "string" has a meaning for a type.
func quotable(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	in := inference{use: reads}
	return t == numberType || scalar(t) != nil && in.own(t) == nil
}

// docOf is what a field's tag says it is. Tags that begin with WORD= are kept free
// by the library for what it may become.
func docOf(f reflect.StructField) string {
	doc := f.Tag.Get("jsonschema")
	if first, _, _ := strings.Cut(doc, " "); strings.Contains(first, "=") {
		return ""
	}
	return doc
}
