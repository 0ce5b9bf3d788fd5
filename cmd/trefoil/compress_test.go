package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func TestCompressFromTheCommandLine(t *testing.T) {
	_, addr := startBroker(t)
	long := `{"text":"` + strings.Repeat("long ", 4000) + `"}`
	for _, method := range []string{"s2", "zstd", "zstd,s2", "none"} {
		t.Run(method, func(t *testing.T) {
			name := "echo." + strings.ReplaceAll(method, ",", ".")
			startProvider(t, addr, name, "cat", "--compress", method)
			f := inProcess(t, "", "call", name, long, "--broker", addr, "--compress", method)
			require.Equal(t, exitOK, f.code, f.err)
			assert.JSONEq(t, long, f.out)
		})
	}
}

func TestWhatCompressTakes(t *testing.T) {
	for name, args := range map[string][]string{
		"call":  {"call", "a.b", "--compress", "gzip"},
		"sub":   {"sub", "news", "--compress", "s2,"},
		"pub":   {"pub", "news", "x", "--compress", "S2"},
		"bench": {"bench", "rpc", "--compress", "brotli"},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", args...)
			assert.Equal(t, exitUsage, f.code)
			assert.Contains(t, f.err, "is not known; it is one of s2, zstd, none")
		})
	}
}

func TestCompressionOfASetting(t *testing.T) {
	for name, tt := range map[string]struct {
		names []string
		want  []abstract.CompressMethod
	}{
		"both":           {[]string{"zstd", "s2"}, []abstract.CompressMethod{abstract.CompressZstd, abstract.CompressS2}},
		"none":           {[]string{"none"}, nil},
		"none with more": {[]string{"s2", "none"}, nil},
		"nothing":        {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, compressMethods(tt.names))
			b := brokerSettings{compress: tt.names}
			assert.Len(t, b.compression(), min(1, len(tt.want)))
		})
	}
}
