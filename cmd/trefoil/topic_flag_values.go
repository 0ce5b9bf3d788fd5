package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"trefoil/cmd/trefoil/internal/config"
)

var (
	_ pflag.Value = (*sizeValue)(nil)
	_ pflag.Value = (*spanValue)(nil)
	_ pflag.Value = (*factorValue)(nil)
)

// sizeValue is a flag for a number of bytes.
type sizeValue int64

// Set reads "64MiB" or a plain number.
func (v *sizeValue) Set(text string) error {
	n, err := config.ParseSize(text)
	if err == nil && n < 0 {
		err = fmt.Errorf("%q is negative", text)
	}
	*v = sizeValue(n)
	return err
}

// String is the size with its unit.
func (v *sizeValue) String() string { return config.Size(*v).String() }

// Type is what a flag's help calls the value.
func (v *sizeValue) Type() string { return "size" }

// spanValue is a flag for a time that a broker counts in milliseconds.
type spanValue time.Duration

// Set reads a duration, also one of days.
func (v *spanValue) Set(text string) error {
	d, err := config.ParseDuration(text)
	switch {
	case err != nil:
		return err
	case d < 0:
		return fmt.Errorf("%q is negative", text)
	case d > 0 && d < time.Millisecond:
		return fmt.Errorf("%q is less than a millisecond", text)
	}
	*v = spanValue(d)
	return nil
}

// String is the duration; 0 for none.
func (v *spanValue) String() string {
	if *v == 0 {
		return "0"
	}
	return config.FormatDuration(time.Duration(*v))
}

// Type is what a flag's help calls the value.
func (v *spanValue) Type() string { return "duration" }

// factorValue is a flag for how many times faster something is; its zero value is 1.
type factorValue struct {
	text string
	n    float64
}

// Set reads a number of 0 or more.
func (v *factorValue) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n <= maxFactor) {
		return fmt.Errorf("%q is not a number from 0 to %d", text, maxFactor)
	}
	*v = factorValue{text, n}
	return nil
}

const maxFactor = 1_000_000_000

// String is the number as it was written.
func (v *factorValue) String() string { return v.text }

// Type is what a flag's help calls the value.
func (v *factorValue) Type() string { return "factor" }

// factor is the number.
func (v *factorValue) factor() float64 {
	if v.text == "" {
		return 1
	}
	return v.n
}

// momentForms are how a moment may be written, beside RFC 3339: without a zone it is this
// machine's time.
var momentForms = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// clockForms are those of today.
var clockForms = []string{"15:04:05", "15:04"}

// parseMoment reads a moment; now says which day is today.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, form := range momentForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, form := range clockForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write it as 2006-01-02T15:04:05Z, '2006-01-02 15:04:05' or 15:04 today", text)
}
