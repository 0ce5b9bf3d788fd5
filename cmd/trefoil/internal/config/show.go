package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// masked stands for a secret that is set.
const masked = "********"

// Shown is the value for people. Secrets are masked.
func (v Value) Shown() string {
	if v.Secret && v.Text != "" {
		return masked
	}
	return v.Text
}

// MarshalJSON makes an object of the key, the value as it stands in a file, and
// where it came from. Secrets are masked.
func (v Value) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Key    string `json:"key"`
		Value  any    `json:"value"`
		Origin Origin `json:"origin"`
		Reload bool   `json:"reload"`
	}{v.Key, v.inFile(), v.Origin, v.Reload})
}

// inFile is the value as a file has it.
func (v Value) inFile() any {
	parsed, err := v.parse(v.Text)
	if err != nil || v.Secret {
		return v.Shown()
	}
	switch parsed := parsed.(type) {
	case time.Duration, Size:
		return v.Text
	case []string:
		if parsed == nil {
			return []string{}
		}
	}
	return parsed
}

// Changed returns the values of v that differ from those in the values before. Both
// are of one Table.
func (v Values) Changed(before Values) Values {
	var changed Values
	for i := range v {
		if v[i].Text != before[i].Text {
			changed = append(changed, v[i])
		}
	}
	return changed
}

// Of returns the value of a key, which is zero when there is none.
func (v Values) Of(key string) Value {
	for i := range v {
		if v[i].Key == key {
			return v[i]
		}
	}
	return Value{}
}

// Keys are the keys of the values.
func (v Values) Keys() []string {
	keys := make([]string, len(v))
	for i := range v {
		keys[i] = v[i].Key
	}
	return keys
}

// Any says whether there is a value whose key begins so.
func (v Values) Any(prefix string) bool {
	return slices.ContainsFunc(v, func(one Value) bool { return strings.HasPrefix(one.Key, prefix) })
}

// Markdown describes every setting, area after area.
func (t Table) Markdown() string {
	var out strings.Builder
	area := "none yet"
	for i := range t {
		s := &t[i]
		if s.Area() != area {
			area = s.Area()
			heading := "The outermost object"
			if area != "" {
				heading = "`" + area + "`"
			}
			fmt.Fprintf(&out, "\n### %s\n\n| key | what | type | default | limits | flag, environment | SIGHUP |\n|---|---|---|---|---|---|---|\n", heading)
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s | %s`%s` | %s |\n",
			s.Key, s.prose(), s.Type(), code(s.Default), s.limits(), s.flagText(), s.Env(), s.reloads())
	}
	return strings.TrimPrefix(out.String(), "\n")
}

// prose is the help as a sentence of a document.
func (s *Setting) prose() string {
	text := strings.ReplaceAll(strings.ReplaceAll(s.Help, "`", ""), "|", `\|`)
	return strings.ToUpper(text[:1]) + text[1:]
}

func (s *Setting) limits() string {
	var parts []string
	if s.Choices != nil {
		parts = append(parts, strings.Join(s.Choices, ", "))
	}
	if s.Names != nil {
		parts = append([]string{strings.Join(s.Names, ", ")}, parts...)
	}
	if _, list := s.To.(*[]string); list && s.Min != "" {
		parts = append(parts, "at least "+s.Min)
		return strings.Join(parts, "; ")
	}
	switch {
	case s.Min != "" && s.Max != "":
		parts = append(parts, s.Min+" to "+s.Max)
	case s.Min != "":
		parts = append(parts, "from "+s.Min)
	case s.Max != "":
		parts = append(parts, "up to "+s.Max)
	}
	return strings.Join(parts, ": ")
}

func (s *Setting) flagText() string {
	if s.Flag == "" {
		return ""
	}
	return "`--" + s.Flag + "`, "
}

func (s *Setting) reloads() string {
	if s.Reload {
		return "reloaded"
	}
	return "restart"
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
