package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// node is a JSON value and where it begins in its text.
type node struct {
	at     int
	kind   kind
	text   string // of a string, what it says; of a number, as it is written
	fields []field
	items  []node
}

type field struct {
	at    int
	name  string
	value node
}

// kind is what a JSON value is, in the words of a complaint.
type kind string

const (
	isObject kind = "an object"
	isArray  kind = "an array"
	isString kind = "a string"
	isNumber kind = "a number"
	isBool   kind = "true or false"
	isNull   kind = "null"
)

// syntaxError says where a text is no JSON.
type syntaxError struct {
	at   int
	text string
}

func (e *syntaxError) Error() string { return e.text }

// parseDocument reads one JSON value.
func parseDocument(text []byte) (node, error) {
	if err := checkSyntax(text); err != nil {
		return node{}, err
	}
	p := parser{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	return p.value()
}

// checkSyntax finds what is no JSON, in words that help.
func checkSyntax(text []byte) error {
	if bytes.HasPrefix(text, []byte("\xEF\xBB\xBF")) {
		return &syntaxError{0, "the file begins with a byte order mark; save it as UTF-8 without one"}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return &syntaxError{0, "the file is empty; {} says that all settings have their defaults"}
	}
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return &syntaxError{at, "the file is not UTF-8"}
		}
		at += size
	}
	var any json.RawMessage
	err := json.Unmarshal(text, &any)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return &syntaxError{0, err.Error()}
	}
	at := min(max(int(syntax.Offset)-1, 0), len(text)-1)
	return &syntaxError{at, "this is no JSON: " + syntax.Error() + hint(text, at)}
}

// hint is about what people write that JSON does not have.
func hint(text []byte, at int) string {
	before := bytes.TrimRight(text[:at], " \t\r\n")
	switch c := text[at]; {
	case c == '/' || c == '#':
		return "; JSON has no comments"
	case (c == '}' || c == ']') && bytes.HasSuffix(before, []byte(",")):
		return "; there is no comma after the last one"
	case c == '\'':
		return "; JSON has double quotes only"
	}
	return ""
}

// parser makes nodes of a text that is known to be JSON.
type parser struct {
	text []byte
	dec  *json.Decoder
}

// token returns the next token and where it begins.
func (p *parser) token() (json.Token, int, error) {
	at := int(p.dec.InputOffset())
	for at < len(p.text) && bytes.IndexByte([]byte(" \t\r\n:,"), p.text[at]) >= 0 {
		at++
	}
	t, err := p.dec.Token()
	return t, at, err
}

func (p *parser) value() (node, error) {
	t, at, err := p.token()
	if err != nil {
		return node{}, err
	}
	n := node{at: at}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			n.kind = isObject
			n.fields, err = p.fieldsUntilEnd()
		} else {
			n.kind = isArray
			n.items, err = p.itemsUntilEnd()
		}
	case string:
		n.kind, n.text = isString, t
	case json.Number:
		n.kind, n.text = isNumber, t.String()
	case bool:
		n.kind, n.text = isBool, fmt.Sprint(t)
	default:
		n.kind = isNull
	}
	return n, err
}

func (p *parser) fieldsUntilEnd() ([]field, error) {
	var fields []field
	for p.dec.More() {
		t, at, err := p.token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		fields = append(fields, field{at: at, name: name, value: value})
	}
	_, _, err := p.token()
	return fields, err
}

func (p *parser) itemsUntilEnd() ([]node, error) {
	var items []node
	for p.dec.More() {
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, _, err := p.token()
	return items, err
}

// place is where an offset is, counted from 1, in characters.
func place(text []byte, at int) (line, column int) {
	before := text[:min(at, len(text))]
	line = 1 + bytes.Count(before, []byte("\n"))
	column = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return line, column
}
