// Package config reads the settings of a program from a table that says
// everything about each of them: its key in the JSON file, its flag, its variable
// in the environment, its type, its limits, and what it is for. What is wrong is
// told with the place where it stands.
package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// envPrefix begins the names of variables in the environment.
const envPrefix = "TREFOIL_"

// Setting is one row of a Table. Texts are what somebody would write after a flag:
// "8MiB", "10s", "rpc,topic", "rpc=debug,topic=warn".
type Setting struct {
	Key     string // in the file; "log.level" is {"log": {"level": ...}}
	Flag    string // without dashes; empty: none
	To      any    // where the value goes, which says its type: *string, *bool, *int, *Size, *time.Duration, *[]string or *map[string]string
	Default string
	Min     string   // of numbers, and how many elements a list has at least; empty: 0
	Max     string   // of numbers; empty: as many as the type holds
	Choices []string // what a string, an element of a list or a value of a map may be; nil: anything
	Names   []string // what the keys of a map may be
	Help    string   // what it is for, in lower case, without a full stop; `WORDS` in back quotes are what help calls the value
	Reload  bool     // it can be changed while the program runs
	Secret  bool     // its value is never shown
	// Check says what else is wrong with a value; nil: nothing.
	Check func(text string) error
}

// Table is every setting of a program. The order of the rows is that of what is shown.
type Table []Setting

// Env is the setting's variable in the environment.
func (s *Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// Area is the object of the file that the setting stands in; empty: the outermost.
func (s *Setting) Area() string {
	area, _, nested := strings.Cut(s.Key, ".")
	if !nested {
		return ""
	}
	return area
}

// IsBool says whether the value is true or false, and the flag needs none.
func (s *Setting) IsBool() bool {
	_, is := s.To.(*bool)
	return is
}

// Type says what kind of value the setting takes, for people.
func (s *Setting) Type() string {
	switch s.To.(type) {
	case *bool:
		return "true or false"
	case *int:
		return "whole number"
	case *Size:
		return "size"
	case *time.Duration:
		return "duration"
	case *[]string:
		return "list of strings"
	case *map[string]string:
		return "object of strings"
	}
	return "string"
}

// Canonical checks a text and returns the way it is shown: two texts of the same
// value have the same.
func (s *Setting) Canonical(text string) (string, error) {
	v, err := s.parse(text)
	if err != nil {
		return "", err
	}
	if s.Check != nil {
		if err := s.Check(text); err != nil {
			return "", err
		}
	}
	return format(v), nil
}

// parse makes a value of a text.
func (s *Setting) parse(text string) (any, error) {
	switch s.To.(type) {
	case *bool:
		return parseBool(text)
	case *int:
		n, err := s.number(text, parseCount)
		return int(n), err
	case *Size:
		n, err := s.number(text, parseSize)
		return Size(n), err
	case *time.Duration:
		n, err := s.number(text, parseDuration)
		return time.Duration(n), err
	case *[]string:
		return s.list(text)
	case *map[string]string:
		return s.pairs(text)
	}
	return text, s.choice(text)
}

// assign stores a value that parse has made.
func (s *Setting) assign(v any) {
	switch to := s.To.(type) {
	case *string:
		*to = v.(string)
	case *bool:
		*to = v.(bool)
	case *int:
		*to = v.(int)
	case *Size:
		*to = v.(Size)
	case *time.Duration:
		*to = v.(time.Duration)
	case *[]string:
		*to = v.([]string)
	case *map[string]string:
		*to = v.(map[string]string)
	}
}

// format is the canonical text of a value.
func format(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return formatDuration(v)
	case []string:
		return strings.Join(v, ",")
	case map[string]string:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, name+"="+v[name])
		}
		return strings.Join(pairs, ",")
	}
	return fmt.Sprint(v)
}

// number reads a number and holds it against the limits.
func (s *Setting) number(text string, read func(string) (int64, error)) (int64, error) {
	n, err := read(text)
	if err != nil {
		return 0, err
	}
	low, high := int64(0), int64(math.MaxInt64)
	if s.Min != "" {
		if low, err = read(s.Min); err != nil {
			return 0, err
		}
	}
	if s.Max != "" {
		if high, err = read(s.Max); err != nil {
			return 0, err
		}
	}
	switch {
	case n < low && low == 0:
		return 0, fmt.Errorf("%s is negative", text)
	case n < low:
		return 0, fmt.Errorf("%s is too little; it is at least %s", text, s.Min)
	case n > high:
		return 0, fmt.Errorf("%s is too much; it is at most %s", text, s.Max)
	}
	return n, nil
}

func (s *Setting) choice(text string) error {
	if s.Choices == nil || slices.Contains(s.Choices, text) {
		return nil
	}
	return fmt.Errorf("%q is not known%s; it takes %s", text, suggestion(text, s.Choices), strings.Join(s.Choices, ", "))
}

func (s *Setting) name(text string) error {
	if s.Names == nil || slices.Contains(s.Names, text) {
		return nil
	}
	return fmt.Errorf("%q is not known%s; there are %s", text, suggestion(text, s.Names), strings.Join(s.Names, ", "))
}

// list reads elements with commas between them. One that comes twice counts once.
func (s *Setting) list(text string) ([]string, error) {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if strings.TrimSpace(text) == "" {
			break // no elements at all
		}
		if part == "" {
			return nil, fmt.Errorf("%q has an empty element; write them with one comma between two", text)
		}
		if err := s.choice(part); err != nil {
			return nil, err
		}
		if !slices.Contains(list, part) {
			list = append(list, part)
		}
	}
	if low, _ := strconv.Atoi(s.Min); len(list) < low {
		return nil, fmt.Errorf("it needs at least %s of %s", s.Min, strings.Join(s.Choices, ", "))
	}
	return list, nil
}

// pairs reads name=value with commas between them.
func (s *Setting) pairs(text string) (map[string]string, error) {
	pairs := make(map[string]string)
	if strings.TrimSpace(text) == "" {
		return pairs, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok {
			return nil, fmt.Errorf("%q has no value; write name=value, with commas between them", part)
		}
		if err := s.name(name); err != nil {
			return nil, err
		}
		if err := s.choice(value); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if _, twice := pairs[name]; twice {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		pairs[name] = value
	}
	return pairs, nil
}
