package main

import (
	"bytes"
	"encoding/json"
	"os"

	"trefoil/abstract"
	"trefoil/server"
)

// description is what a provider says of its method: nothing, or what the file says.
func (s *settings) description(method string) (server.Description, error) {
	d := server.Description{Method: method, Result: server.KindAny}
	if s.describedIn == "" {
		return d, nil
	}
	text, err := os.ReadFile(s.describedIn)
	if err != nil {
		return d, err
	}
	var info struct {
		Doc        string            `json:"doc"`
		Idempotent bool              `json:"idempotent"`
		Parameters json.RawMessage   `json:"parameters"`
		Result     json.RawMessage   `json:"result"`
		Examples   []json.RawMessage `json:"examples"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&info); err != nil {
		return d, abstract.Errorf(abstract.InvalidParams, "%s does not describe a method (%v); it is an object of doc, parameters, result, examples and idempotent", s.describedIn, err)
	}
	d.Doc, d.Idempotent, d.ParametersSchema, d.ResultSchema, d.Examples = info.Doc, info.Idempotent, info.Parameters, info.Result, info.Examples
	return d, nil
}
