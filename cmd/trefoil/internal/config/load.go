package config

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Sources is where settings may come from. Later ones win: the file, the
// environment, the flags.
type Sources struct {
	File  string // what the file is called; empty: there is none
	Text  []byte // what stands in it
	Env   func(name string) (string, bool)
	Flags map[string]string // those that were given, by their names without dashes
}

// Origin is where the value of a setting came from.
type Origin struct {
	From   string `json:"from"`           // default, file, environment or flag
	Name   string `json:"name,omitempty"` // of the file, the variable or the flag
	Line   int    `json:"line,omitempty"` // in the file
	Column int    `json:"column,omitempty"`
}

// String names the origin as people would.
func (o Origin) String() string {
	switch o.From {
	case "file":
		return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
	case "environment":
		return o.Name + " in the environment"
	case "flag":
		return "--" + o.Name
	}
	return o.From
}

// Value is a setting, its value as text, and where that came from.
type Value struct {
	*Setting
	Text   string
	Origin Origin
}

// Values are those of all rows of a Table, in their order.
type Values []Value

// FaultError is something wrong, and where it is.
type FaultError struct {
	Origin Origin `json:"at"`
	Text   string `json:"fault"`
}

// Error is the place and what is wrong there.
func (f FaultError) Error() string { return f.Origin.String() + ": " + f.Text }

// FaultErrors is everything that is wrong, in the order in which it stands in the file.
type FaultErrors []FaultError

// Error is the first fault, and how many there are besides.
func (f FaultErrors) Error() string {
	switch len(f) {
	case 0:
		return "no faults"
	case 1:
		return f[0].Error()
	}
	return fmt.Sprintf("%s (and %d more faults)", f[0].Error(), len(f)-1)
}

// Load reads all settings and stores them where the rows say. When anything is
// wrong it stores nothing, and the error is of type FaultErrors.
func (t Table) Load(src Sources) (Values, error) {
	l := loader{table: t, src: src, values: make(Values, len(t)), given: make(map[string]Origin)}
	for i := range t {
		l.values[i] = Value{Setting: &t[i], Origin: Origin{From: "default"}}
		l.set(i, t[i].Default, Origin{From: "default", Name: t[i].Key})
	}
	if src.File != "" {
		l.file()
	}
	for i := range t {
		l.surroundings(i)
	}
	if len(l.faults) > 0 {
		return nil, l.faults
	}
	for _, v := range l.values {
		parsed, err := v.parse(v.Text)
		if err != nil {
			return nil, FaultErrors{{v.Origin, err.Error()}}
		}
		v.assign(parsed)
	}
	return l.values, nil
}

// loader is one Load.
type loader struct {
	table  Table
	src    Sources
	values Values
	given  map[string]Origin // keys that stand in the file
	faults FaultErrors
}

func (l *loader) fault(o Origin, format string, args ...any) {
	l.faults = append(l.faults, FaultError{o, fmt.Sprintf(format, args...)})
}

// set takes a text for a row, or says what is wrong with it.
func (l *loader) set(i int, text string, o Origin) {
	s := &l.table[i]
	canonical, err := s.Canonical(text)
	if err != nil {
		why := err.Error()
		if s.Secret {
			why = "the value cannot be used" // it may be in the error
		}
		if o.From == "file" {
			why = s.Key + ": " + why
		}
		l.fault(o, "%s", why)
		return
	}
	l.values[i].Text, l.values[i].Origin = canonical, o
	if o.From == "default" {
		l.values[i].Origin.Name = ""
	}
}

// surroundings takes what the environment and the flags say about a row.
func (l *loader) surroundings(i int) {
	s := &l.table[i]
	if l.src.Env != nil {
		if text, ok := l.src.Env(s.Env()); ok && text != "" {
			l.set(i, text, Origin{From: "environment", Name: s.Env()})
		}
	}
	if text, ok := l.src.Flags[s.Flag]; ok && s.Flag != "" {
		l.set(i, text, Origin{From: "flag", Name: s.Flag})
	}
}

func (l *loader) file() {
	root, err := parseDocument(l.src.Text)
	if err != nil {
		at := 0
		var syntax *syntaxError
		if errors.As(err, &syntax) {
			at = syntax.at
		}
		l.fault(l.at(at), "%s", err)
		return
	}
	if root.kind != isObject {
		l.fault(l.at(root.at), "the file holds %s; it must hold an object: {...}", root.kind)
		return
	}
	l.object("", root)
	sort.SliceStable(l.faults, func(i, j int) bool {
		a, b := l.faults[i].Origin, l.faults[j].Origin
		return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
	})
}

// at is a place in the file.
func (l *loader) at(offset int) Origin {
	line, column := place(l.src.Text, offset)
	return Origin{From: "file", Name: l.src.File, Line: line, Column: column}
}

// object reads the fields of an object whose keys begin with prefix.
func (l *loader) object(prefix string, n node) {
	for _, f := range n.fields {
		key, here := prefix+f.name, l.at(f.at)
		if first, twice := l.given[key]; twice {
			l.fault(here, "%s is there twice; the first is on line %d", key, first.Line)
			continue
		}
		l.given[key] = here
		i := slices.IndexFunc(l.table, func(s Setting) bool { return s.Key == key })
		switch {
		case i >= 0 && !strings.Contains(f.name, "."):
			l.value(i, f.value)
		case !strings.Contains(f.name, ".") && l.isArea(key):
			if f.value.kind != isObject {
				l.fault(l.at(f.value.at), "%s is an object with settings in it, not %s", key, f.value.kind)
				continue
			}
			l.object(key+".", f.value)
		default:
			l.unknown(here, prefix, f.name)
		}
	}
}

func (l *loader) isArea(key string) bool {
	return slices.ContainsFunc(l.table, func(s Setting) bool { return strings.HasPrefix(s.Key, key+".") })
}

// unknown complains of a key that is not known, and names the one that was meant.
func (l *loader) unknown(here Origin, prefix, name string) {
	key := prefix + name
	if i := slices.IndexFunc(l.table, func(s Setting) bool { return s.Key == key }); i >= 0 {
		area, leaf, _ := strings.Cut(key, ".")
		l.fault(here, "the key %q is written as an object in an object: {%q: {%q: ...}}", key, area, leaf)
		return
	}
	if best, ok := l.nearest(prefix, name); ok {
		l.fault(here, "the key %q is not known; did you mean %q?", key, best)
		return
	}
	l.fault(here, "the key %q is not known; here are known: %s", key, strings.Join(l.siblings(prefix), ", "))
}

// nearest looks among the keys that could stand here, then among all.
func (l *loader) nearest(prefix, name string) (string, bool) {
	if best, ok := nearest(name, l.siblings(prefix)); ok {
		return prefix + best, true
	}
	var leaves []string
	for _, s := range l.table {
		leaf := s.Key[strings.LastIndexByte(s.Key, '.')+1:]
		leaves = append(leaves, leaf)
	}
	if best, ok := nearest(name, leaves); ok {
		return l.table[slices.Index(leaves, best)].Key, true
	}
	all := make([]string, 0, len(l.table))
	for _, s := range l.table {
		all = append(all, s.Key)
	}
	return nearest(prefix+name, all)
}

// siblings are the names that may stand in an object.
func (l *loader) siblings(prefix string) []string {
	var names []string
	for _, s := range l.table {
		rest, ok := strings.CutPrefix(s.Key, prefix)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// value takes a JSON value for a row.
func (l *loader) value(i int, n node) {
	s, here := &l.table[i], l.at(n.at)
	switch s.To.(type) {
	case *bool:
		l.scalar(i, n, isBool, "")
	case *int:
		l.scalar(i, n, isNumber, "")
	case *Size:
		if n.kind == isNumber {
			l.set(i, n.text, here)
			return
		}
		l.scalar(i, n, isString, ` such as "4MiB", or a number of bytes`)
	case *[]string:
		l.elements(i, n)
	case *map[string]string:
		l.members(i, n)
	default:
		example := ""
		if s.Type() == "duration" {
			example = ` such as "2s"`
		}
		l.scalar(i, n, isString, example)
	}
}

func (l *loader) scalar(i int, n node, want kind, example string) {
	if n.kind != want {
		l.fault(l.at(n.at), "%s is %s%s, not %s", l.table[i].Key, want, example, n.kind)
		return
	}
	l.set(i, n.text, l.at(n.at))
}

// elements takes an array. A fault is where its element is.
func (l *loader) elements(i int, n node) {
	s := &l.table[i]
	if n.kind != isArray {
		l.fault(l.at(n.at), "%s is an array of strings, not %s", s.Key, n.kind)
		return
	}
	before, texts := len(l.faults), make([]string, 0, len(n.items))
	for _, item := range n.items {
		if item.kind != isString {
			l.fault(l.at(item.at), "%s is an array of strings, and this is %s", s.Key, item.kind)
		} else if err := s.element(item.text); err != nil {
			l.fault(l.at(item.at), "%s: %s", s.Key, err)
		}
		texts = append(texts, item.text)
	}
	if len(l.faults) == before {
		l.set(i, strings.Join(texts, ","), l.at(n.at))
	}
}

// members takes an object. A fault is where its key or its value is.
func (l *loader) members(i int, n node) {
	s := &l.table[i]
	if n.kind != isObject {
		l.fault(l.at(n.at), "%s is an object of strings, not %s", s.Key, n.kind)
		return
	}
	before, texts, seen := len(l.faults), make([]string, 0, len(n.fields)), make(map[string]int)
	for _, f := range n.fields {
		if err := s.member(f.name); err != nil {
			l.fault(l.at(f.at), "%s: %s", s.Key, err)
		} else if f.value.kind != isString {
			l.fault(l.at(f.value.at), "%s.%s is a string, not %s", s.Key, f.name, f.value.kind)
		} else if err := s.element(f.value.text); err != nil {
			l.fault(l.at(f.value.at), "%s.%s: %s", s.Key, f.name, err)
		}
		if line, twice := seen[f.name]; twice {
			l.fault(l.at(f.at), "%s.%s is there twice; the first is on line %d", s.Key, f.name, line)
		} else {
			seen[f.name] = l.at(f.at).Line
		}
		texts = append(texts, f.name+"="+f.value.text)
	}
	if len(l.faults) == before {
		l.set(i, strings.Join(texts, ","), l.at(n.at))
	}
}

// element says what is wrong with one string of a list or a map.
func (s *Setting) element(text string) error {
	if err := noSeparator(text, ","); err != nil {
		return err
	}
	return s.choice(text)
}

// member says what is wrong with a key of a map.
func (s *Setting) member(name string) error {
	if err := noSeparator(name, ",="); err != nil {
		return err
	}
	return s.name(name)
}

func noSeparator(text, separators string) error {
	if text == "" || strings.TrimSpace(text) != text || strings.ContainsAny(text, separators) {
		return fmt.Errorf("%q is empty, or has one of %q or a space at its ends in it", text, separators)
	}
	return nil
}
