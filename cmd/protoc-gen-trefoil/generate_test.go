package main

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// protoFiles are all .proto files of the module, from the root.
func protoFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path != root && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case filepath.Ext(path) == ".proto":
			name, err := filepath.Rel(root, path)
			files = append(files, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// compiler is the line of a file of messages that says which protoc has read it.
var compiler = regexp.MustCompile(`(?m)^// \tprotoc .*$`)

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return compiler.ReplaceAllString(string(b), "// \tprotoc")
}

var update = flag.Bool("update", false, "write generated files instead of comparing them")

func TestGeneratedFilesAreCurrent(t *testing.T) {
	for _, file := range protoFiles(t) {
		t.Run(file, func(t *testing.T) {
			out := t.TempDir()
			dir, name := split(file)
			said, err := protoc(t, filepath.Join(root, dir), name, out, optionsOf(file)...)
			require.NoError(t, err, said)
			made, err := filepath.Glob(filepath.Join(out, filepath.Dir(name), "*.go"))
			require.NoError(t, err)
			require.NotEmpty(t, made)
			for _, path := range made {
				current := filepath.Join(root, dir, filepath.Dir(name), filepath.Base(path))
				if *update {
					fresh, err := os.ReadFile(path)
					require.NoError(t, err)
					require.NoError(t, os.WriteFile(current, fresh, 0o600))
				}
				assert.Equal(t, text(t, path), text(t, current), "%s is not what %s makes; go test ./cmd/protoc-gen-trefoil -run Current -update writes it", current, file)
			}
		})
	}
}

// split splits the directory in which a file is generated from its name there: that of
// the example, where buf is run, or else the root.
func split(file string) (dir, name string) {
	const example = "docs/examples/userservice/"
	if name, ok := strings.CutPrefix(file, example); ok {
		return example, name
	}
	return ".", file
}

// optionsOf are the options that a file of ours was generated with.
func optionsOf(file string) []string {
	switch filepath.Base(file) {
	case "numbers.proto":
		return []string{"int64=number", "service_prefix=short"}
	case "opaque.proto":
		return []string{"go:default_api_level=API_OPAQUE"}
	}
	return nil
}

// TestBufGeneratesTheSame runs where buf is installed.
func TestBufGeneratesTheSame(t *testing.T) {
	buf, err := exec.LookPath("buf")
	if err != nil {
		t.Log("NOT CHECKED: buf is not there")
		return
	}
	example, out := root+"/docs/examples/userservice", t.TempDir()
	for _, name := range []string{"buf.gen.yaml", "user/user.proto"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(out, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(out, name), []byte(text(t, filepath.Join(example, name))), 0o600))
	}
	said, err := run(t, out, buf, "generate")
	require.NoError(t, err, said)
	for _, name := range []string{"user/user_trefoil.pb.go", "user/user.pb.go"} {
		assert.Equal(t, text(t, filepath.Join(example, name)), text(t, filepath.Join(out, name)))
	}
}

const head = "syntax = \"proto3\";\npackage p;\noption go_package = \"example.com/p\";\n"

// generateText generates the files of one .proto file, and returns the plugin's own.
func generateText(t *testing.T, proto string, opts ...string) (generated, said string, err error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.proto"), []byte(proto), 0o600))
	said, err = protoc(t, dir, "a.proto", dir, opts...)
	b, _ := os.ReadFile(filepath.Join(dir, "a_trefoil.pb.go"))
	return string(b), said, err
}

func TestFaultsNameFileAndLine(t *testing.T) {
	tests := []struct {
		name, proto string
		want        []string
	}{
		{"parameters that are no object", "import \"google/protobuf/wrappers.proto\";\nmessage M {}\nservice S {\n  rpc A(google.protobuf.StringValue) returns (M);\n}\n",
			[]string{"a.proto:7:3: rpc A takes google.protobuf.StringValue, which is not an object in JSON, as parameters must be; put it into a message"}},
		{"a result that may be null", "import \"google/protobuf/struct.proto\";\nmessage M {}\nservice S {\n  rpc A(M) returns (google.protobuf.Value);\n}\n",
			[]string{"a.proto:7:3: rpc A returns google.protobuf.Value, which may be null, as a result must not be; put it into a message"}},
		{"methods with one name in Go", "message M {}\nservice S {\n  rpc get_user(M) returns (M);\n  rpc GetUser(M) returns (M);\n}\n",
			[]string{"a.proto:7:3: rpc GetUser is GetUser in Go, as rpc get_user is; rename one of them"}},
		{"a message with a generated name", "message SClient {}\nservice S {\n  rpc A(SClient) returns (SClient);\n}\n",
			[]string{"a.proto:5:1: p.S is generated as SClient, which p.SClient is already; rename one of them"}},
		{"services with one name in Go", "message M {}\nservice a_b {}\nservice AB {}\n",
			[]string{"a.proto:6:1: p.AB is generated as ABClient, which p.a_b is already; rename one of them"}},
		{"a name that is too long", "message M {}\nservice S {\n  rpc " + strings.Repeat("x", 253) + "(M) returns (M);\n}\n",
			[]string{"a.proto:6:3: rpc xxx", "is longer than 256 bytes"}},
		{"all faults at once", "import \"google/protobuf/timestamp.proto\";\nmessage M {}\nservice S {\n  rpc A(google.protobuf.Timestamp) returns (M);\n  rpc B(google.protobuf.Timestamp) returns (M);\n}\n",
			[]string{"a.proto:7:3: rpc A takes", "a.proto:8:3: rpc B takes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			generated, said, err := generateText(t, head+tt.proto)
			require.Error(t, err)
			assert.Empty(t, generated)
			for _, want := range tt.want {
				assert.Contains(t, said, want)
			}
		})
	}
}

func TestMessageSetsAreRefused(t *testing.T) {
	_, said, err := generateText(t, "syntax = \"proto2\";\npackage p;\noption go_package = \"example.com/p\";\n"+
		"message Set { option message_set_wire_format = true; extensions 4 to max; }\nmessage M { optional M again = 1; optional Set set = 2; }\nservice S { rpc A(M) returns (M); }\n")
	if err != nil && !strings.Contains(said, "a.proto:6:13") {
		require.Contains(t, said, "protoc-gen-go") // newer ones refuse it before us
		return
	}
	require.Error(t, err)
	assert.Contains(t, said, "a.proto:6:13: rpc A uses p.Set, a message set, which has no JSON")
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for option, want := range map[string]string{
		"int64=text":        "int64=text: give int64=string or int64=number",
		"service_prefix=a.": "service_prefix=a.: give words of letters, digits, _ and -, with dots between them",
		"colour=red":        "colour",
	} {
		_, said, err := generateText(t, head, option)
		require.Error(t, err, option)
		assert.Contains(t, said, want)
	}
}

func TestOptionsChangeWhatIsGenerated(t *testing.T) {
	const service = "message M {}\nservice S {\n  rpc A(M) returns (M);\n}\n"
	tests := []struct {
		name string
		opts []string
		want string
	}{
		{"none", nil, `protostub.NewMethod("p.S.A", (*M)(nil), (*M)(nil))`},
		{"another prefix", []string{"service_prefix=acme.v1"}, `protostub.NewMethod("acme.v1.S.A", (*M)(nil), (*M)(nil))`},
		{"no prefix", []string{"service_prefix="}, `protostub.NewMethod("S.A", (*M)(nil), (*M)(nil))`},
		{"numbers", []string{"int64=number"}, `protostub.NewMethod("p.S.A", (*M)(nil), (*M)(nil), protostub.Numbers())`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			generated, said, err := generateText(t, head+service, tt.opts...)
			require.NoError(t, err, said)
			assert.Contains(t, generated, tt.want)
		})
	}
}

func TestFilesWithoutServicesMakeNothing(t *testing.T) {
	generated, said, err := generateText(t, head+"message M {}\n")
	require.NoError(t, err, said)
	assert.Empty(t, generated)
}

func TestCommentsAreKept(t *testing.T) {
	generated, said, err := generateText(t, head+"message M {}\n//S is\n//\n//  indented.\nservice S {\n  // Odd \"quotes\" and */ are harmless.\n  rpc A(M) returns (M) { option deprecated = true; }\n}\n")
	require.NoError(t, err, said)
	assert.Contains(t, generated, "// S is\n//\n//\tindented.\ntype SServer interface {\n")
	assert.Contains(t, generated, "\t// Odd \"quotes\" and */ are harmless.\n\t//\n\t// Deprecated: it is marked as deprecated in the .proto file.\n\tA(ctx ")
	assert.Contains(t, generated, `protostub.Doc("Odd \"quotes\" and */ are harmless.")`)
}
