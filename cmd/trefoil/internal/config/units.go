package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. Its text has the largest unit that divides it: "8MiB".
type Size int64

// units are those of sizes, the largest first.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// String is the size in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads "4MiB", "4 MiB" and "4194304".
func ParseSize(text string) (Size, error) {
	n, err := parseSize(text)
	return Size(n), err
}

// ParseDuration reads what time.ParseDuration reads, and days as in "7d" or "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	n, err := parseDuration(text)
	return time.Duration(n), err
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, strconv.IntSize)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is no number that fits", text)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number", text)
	}
	return n, nil
}

func parseSize(text string) (int64, error) {
	number, factor := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && (n > math.MaxInt64/factor || n < math.MinInt64/factor):
		return 0, fmt.Errorf("%s is no size that fits", text)
	case err != nil:
		return 0, fmt.Errorf("%q is no size; write it as 4MiB, or as a number of bytes", text)
	}
	return n * factor, nil
}

// maxDays is as many as a time.Duration holds.
const maxDays = math.MaxInt64 / int64(24*time.Hour)

func parseDuration(text string) (int64, error) {
	wrong := fmt.Errorf("%q is no duration; write it as 500ms, 2s, 1m30s, 12h or 7d", text)
	rest, days := strings.TrimSpace(text), time.Duration(0)
	if number, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 || n > maxDays {
			return 0, wrong
		}
		if days = time.Duration(n) * 24 * time.Hour; after == "" {
			return int64(days), nil
		}
		rest = after
	}
	d, err := time.ParseDuration(rest)
	if err != nil || days > 0 && (d < 0 || d > math.MaxInt64-days) {
		return 0, wrong
	}
	return int64(days + d), nil
}

// FormatDuration writes what ParseDuration reads, without the units that are zero.
func FormatDuration(d time.Duration) string { return formatDuration(d) }

// formatDuration leaves out the units that are zero, and has days.
func formatDuration(d time.Duration) string {
	if d < time.Second {
		return d.String()
	}
	var text string
	if days := d / (24 * time.Hour); days > 0 {
		text = strconv.FormatInt(int64(days), 10) + "d"
		d %= 24 * time.Hour
	}
	if hours := d / time.Hour; hours > 0 {
		text += strconv.FormatInt(int64(hours), 10) + "h"
		d %= time.Hour
	}
	if minutes := d / time.Minute; minutes > 0 {
		text += strconv.FormatInt(int64(minutes), 10) + "m"
		d %= time.Minute
	}
	if d > 0 {
		text += d.String()
	}
	return text
}
