package main

import (
	"flag"
	"fmt"
	"regexp"
)

// options are the plugin's own.
type options struct {
	prefix  *string // nil: the .proto package
	numbers bool
}

func (o *options) define(flags *flag.FlagSet) {
	flags.Func("service_prefix", "what stands before the service in the names of methods, in place of the .proto package", o.setPrefix)
	flags.Func("int64", "how integers of 64 bits are written: string or number", o.setInt64)
}

var dotted = regexp.MustCompile(`^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*$`)

func (o *options) setPrefix(text string) error {
	if text != "" && !dotted.MatchString(text) {
		return fmt.Errorf("service_prefix=%s: give words of letters, digits, _ and -, with dots between them", text)
	}
	o.prefix = &text
	return nil
}

func (o *options) setInt64(text string) error {
	switch text {
	case "string", "number":
		o.numbers = text == "number"
		return nil
	}
	return fmt.Errorf("int64=%s: give int64=string or int64=number", text)
}
