package trefoil_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "trefoil"

// layer says what the packages of one part of the tree may import of the others.
// A pattern is a package's directory; "dir/*" is every package below it.
type layer struct {
	name     string
	packages []string // who belongs to it; the first layer that matches counts
	may      []string // what they may import of the module
	tests    []string // what their tests may import in addition
}

var layers = []layer{
	{
		name:     "abstract/*test",
		packages: []string{"abstract/*test"},
		may:      []string{"abstract"},
	},
	{
		name:     "abstract",
		packages: []string{"abstract"},
		tests:    []string{"abstract/*test"},
	},
	{
		name:     "concrete/*test",
		packages: []string{"concrete/etcd/etcdtest"},
		may:      []string{"abstract", "abstract/*test", "concrete/internal/*"},
	},
	{
		name:     "concrete/internal",
		packages: []string{"concrete/internal/*"},
		may:      []string{"abstract", "concrete/internal/*"},
		tests:    []string{"abstract/*test"},
	},
	{
		name:     "concrete",
		packages: []string{"concrete", "concrete/*"},
		may:      []string{"abstract", "concrete/internal/*"},
		tests:    []string{"abstract/*test", "concrete/etcd/etcdtest", "concrete/message"}, // golden frames are frames with messages in them
	},
	{
		name:     "business/protostub",
		packages: []string{"business/protostub", "business/protostub/*"},
		may:      []string{"abstract", "concrete/message", "business/protostub", "business/protostub/internal/*"},
		tests:    []string{".", "server", "client", "concrete/*"}, // stubs are called from end to end
	},
	{
		name:     "business",
		packages: []string{"business", "business/*"},
		may:      []string{"abstract", "concrete/message"},
		tests:    []string{"concrete/*", "abstract/*test"},
	},
	{
		name:     "client",
		packages: []string{"client"},
		may: []string{
			"abstract", "business/*",
			"concrete/tcp", "concrete/stdnet", "concrete/mem", "concrete/lv", "concrete/message", "concrete/workers", "concrete/udp",
		},
		tests: []string{"server", "concrete/*", "abstract/*test"},
	},
	{
		name:     "server",
		packages: []string{"server"},
		may: []string{
			"abstract", "business/*", "client", "concrete/memstore", "concrete/memlog", "concrete/schema",
			"concrete/tcp", "concrete/stdnet", "concrete/mem", "concrete/lv", "concrete/message", "concrete/workers", "concrete/udp",
		},
		tests: []string{"concrete/*", "abstract/*test"},
	},
	{
		name:     "server/trefoiltest",
		packages: []string{"server/trefoiltest"},
		may:      []string{"abstract", "client", "server", "concrete/mem", "concrete/stdnet"}, // what a user's test links: no engines
		tests:    []string{".", "business/access", "concrete/memstore"},
	},
	{
		name:     "client/protorpc",
		packages: []string{"client/protorpc"},
		may:      []string{"abstract", "client"},
		tests:    []string{"server", "business/protostub", "concrete/*"},
	},
	{
		name:     "server/protorpc",
		packages: []string{"server/protorpc"},
		may:      []string{"abstract", "client/protorpc", "server", "business/protostub"},
		tests:    []string{"client", "concrete/*", "docs/examples/userservice/user"},
	},
	{
		name:     "trefoil",
		packages: []string{"."},
		may:      []string{"abstract"},
		tests:    []string{"server", "client", "concrete/*"},
	},
	{
		name:     "cmd",
		packages: []string{"cmd/*"},
		may:      []string{".", "abstract", "concrete/*", "business/*", "server", "client", "cmd/trefoil/internal/*"},
		tests:    []string{"abstract/*test"},
	},
	{
		name:     "docs/examples/userservice/user",
		packages: []string{"docs/examples/userservice/user"}, // generated
		may:      []string{"abstract", "business/protostub"},
	},
	{
		name:     "docs/examples/userservice",
		packages: []string{"docs/examples/userservice/*"},
		may:      []string{"docs/examples/userservice/user", "server/protorpc", "client/protorpc", "abstract", "concrete/zookeeper"},
	},
	{
		name:     "docs/examples",
		packages: []string{"docs/examples", "docs/examples/*"},
		may:      []string{".", "server", "server/trefoiltest", "client", "abstract", "concrete/mem", "concrete/schema"},
		tests:    []string{"business/access", "concrete/compress", "concrete/jetstream", "concrete/stdnet", "concrete/zookeeper", "abstract/registrytest", "docs/examples/userservice/user"},
	},
}

// home says who may import a module of somebody else.
type home struct {
	packages []string // nil: nobody but tests
	tests    bool     // every _test.go file and every abstract/*test package may
}

var homes = map[string]home{
	"github.com/HdrHistogram/hdrhistogram-go": {packages: []string{"cmd/*"}},
	"github.com/anishathalye/porcupine":       {tests: true},
	"github.com/cloudwego/netpoll":            {packages: []string{"concrete/tcp"}},
	"github.com/creack/pty":                   {tests: true},
	"github.com/go-zookeeper/zk":              {packages: []string{"concrete/zookeeper"}},
	"github.com/goccy/go-json":                {packages: []string{"concrete/message"}},
	"github.com/google/jsonschema-go":         {packages: []string{"concrete/schema"}},
	"github.com/klauspost/compress":           {packages: []string{"concrete/compress"}},
	"github.com/nats-io/nats-server":          {packages: []string{"concrete/jetstream"}},
	"github.com/nats-io/nats.go":              {packages: []string{"concrete/jetstream"}},
	"github.com/spf13/cobra":                  {packages: []string{"cmd/*"}},
	"github.com/spf13/pflag":                  {packages: []string{"cmd/*"}},
	"github.com/stretchr/testify":             {tests: true},
	"go.etcd.io/etcd":                         {packages: []string{"concrete/etcdstore", "concrete/etcd", "concrete/etcd/etcdtest", "concrete/internal/etcdlog"}},
	"go.opentelemetry.io/otel":                {packages: []string{"concrete/otel"}, tests: true},
	"go.uber.org/goleak":                      {tests: true},
	"go.uber.org/zap":                         {packages: []string{"concrete/etcdstore", "concrete/etcd", "concrete/internal/etcdlog"}},
	"google.golang.org/grpc":                  {packages: []string{"concrete/etcdstore", "concrete/etcd", "concrete/internal/etcdlog"}},
	"golang.org/x/term":                       {packages: []string{"cmd/*"}},
	"google.golang.org/protobuf": {packages: []string{
		"business/protostub", "business/protostub/internal/*", "cmd/protoc-gen-trefoil", "docs/examples/userservice/user",
	}},
	"gopkg.in/natefinch/lumberjack.v2": {packages: []string{"cmd/trefoil/internal/logs"}},
	"pgregory.net/rapid":               {tests: true},
}

// matches reports whether dir is what a pattern names. The star of "dir/*" stands
// for any depth, that of "dir/*test" for one name.
func matches(pattern, dir string) bool {
	if above, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(dir, above+"/")
	}
	ok, err := path.Match(pattern, dir)
	return err == nil && ok
}

func matchesAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, dir) })
}

func layerOf(dir string) *layer {
	for i := range layers {
		if matchesAny(layers[i].packages, dir) {
			return &layers[i]
		}
	}
	return nil
}

// violation says why a file of the package in dir may not import imp; empty when
// it may.
func violation(dir string, test bool, imp string) string {
	if first, _, _ := strings.Cut(imp, "/"); first != module {
		if !strings.Contains(first, ".") {
			return "" // standard library
		}
		return foreignViolation(dir, test, imp)
	}
	l := layerOf(dir)
	if l == nil {
		return fmt.Sprintf("%s is in no layer; say in layers_test.go where it belongs and what it may import", dir)
	}
	target := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
	if target == "" {
		target = "."
	}
	own := test && target == dir // an external test's own package
	if own || matchesAny(l.may, target) || test && matchesAny(l.tests, target) {
		return ""
	}
	return fmt.Sprintf("%s may not import %s; layer %s may import %v", dir, imp, l.name, l.may)
}

func foreignViolation(dir string, test bool, imp string) string {
	for mod, h := range homes {
		if imp != mod && !strings.HasPrefix(imp, mod+"/") {
			continue
		}
		if matchesAny(h.packages, dir) || h.tests && (test || matches("abstract/*test", dir)) {
			return ""
		}
		if h.packages == nil {
			return fmt.Sprintf("%s may not import %s; it is for tests", dir, imp)
		}
		return fmt.Sprintf("%s may not import %s; its home is %v", dir, imp, h.packages)
	}
	return fmt.Sprintf("%s imports %s, which has no home; give it one in layers_test.go", dir, imp)
}

func TestImportsFollowTheLayers(t *testing.T) {
	sources := loadSources(t)
	require.NotEmpty(t, sources)
	for _, s := range sources {
		for _, imp := range s.imports() {
			assert.Empty(t, violation(s.dir, s.test, imp), s.path)
		}
	}
}

// TestLayerRulesCanFail plants imports, so that a rule that allows everything is
// noticed.
func TestLayerRulesCanFail(t *testing.T) {
	const isTest, isCode = true, false
	tests := []struct {
		name string
		dir  string
		test bool
		imp  string
		want string // part of the complaint; empty: allowed
	}{
		{"abstract takes the standard library", "abstract", isCode, "encoding/json", ""},
		{"abstract takes nothing else of ours", "abstract", isCode, "trefoil/concrete/lv", "may not import"},
		{"abstract takes nobody else's package", "abstract", isCode, "github.com/goccy/go-json", "its home is"},
		{"abstract takes no suite", "abstract", isCode, "trefoil/abstract/storetest", "may not import"},
		{"abstract's test takes a suite", "abstract", isTest, "trefoil/abstract/storetest", ""},
		{"a suite takes the contract", "abstract/storetest", isCode, "trefoil/abstract", ""},
		{"a suite takes testify", "abstract/storetest", isCode, "github.com/stretchr/testify/require", ""},
		{"a suite takes no driver", "abstract/storetest", isCode, "trefoil/concrete/memstore", "may not import"},
		{"a driver takes the contract", "concrete/lv", isCode, "trefoil/abstract", ""},
		{"a driver takes no sibling", "concrete/lv", isCode, "trefoil/concrete/message", "may not import"},
		{"a driver's test takes messages", "concrete/lv", isTest, "trefoil/concrete/message", ""},
		{"a driver's test takes no other sibling", "concrete/lv", isTest, "trefoil/concrete/mem", "may not import"},
		{"a driver's test takes the suite", "concrete/memstore", isTest, "trefoil/abstract/storetest", ""},
		{"a driver takes no suite", "concrete/memstore", isCode, "trefoil/abstract/storetest", "may not import"},
		{"a transport takes the shared machinery", "concrete/tcp", isCode, "trefoil/concrete/internal/link", ""},
		{"the shared machinery takes no transport", "concrete/internal/link", isCode, "trefoil/concrete/tcp", "may not import"},
		{"an external test takes its own package", "concrete/mem", isTest, "trefoil/concrete/mem", ""},
		{"a manager takes messages", "business/topic", isCode, "trefoil/concrete/message", ""},
		{"a manager takes no other driver", "business/topic", isCode, "trefoil/concrete/memstore", "may not import"},
		{"a manager's test takes a store", "business/topic", isTest, "trefoil/concrete/memstore", ""},
		{"a manager takes no sibling", "business/topic", isCode, "trefoil/business/registry", "may not import"},
		{"a manager's test takes no sibling", "business/topic", isTest, "trefoil/business/registry", "may not import"},
		{"the client takes no server", "client", isCode, "trefoil/server", "may not import"},
		{"the client's test takes the server", "client", isTest, "trefoil/server", ""},
		{"the client takes no store", "client", isCode, "trefoil/concrete/memstore", "may not import"},
		{"the server takes the client", "server", isCode, "trefoil/client", ""},
		{"the server takes no engine", "server", isCode, "trefoil/concrete/etcdstore", "may not import"},
		{"a broker for tests takes servers and clients", "server/trefoiltest", isCode, "trefoil/client", ""},
		{"a broker for tests takes no engine", "server/trefoiltest", isCode, "trefoil/concrete/etcdstore", "may not import"},
		{"a broker for tests takes no assertions", "server/trefoiltest", isCode, "github.com/stretchr/testify/require", "it is for tests"},
		{"the root takes no server", ".", isCode, "trefoil/server", "may not import"},
		{"a command takes everything", "cmd/trefoil", isCode, "trefoil/concrete/memstore", ""},
		{"an example takes what users take", "docs/examples/rpc", isCode, "trefoil/client", ""},
		{"an example takes no inner package", "docs/examples/rpc", isCode, "trefoil/business/router", "may not import"},
		{"netpoll is at home in tcp", "concrete/tcp", isCode, "github.com/cloudwego/netpoll", ""},
		{"netpoll is nowhere else", "concrete/stdnet", isTest, "github.com/cloudwego/netpoll", "its home is"},
		{"go-json is at home in message", "concrete/message", isCode, "github.com/goccy/go-json", ""},
		{"testify is for tests", "server", isCode, "github.com/stretchr/testify/require", "it is for tests"},
		{"tests take testify", "server", isTest, "github.com/stretchr/testify/require", ""},
		{"cobra is at home in cmd", "server", isCode, "github.com/spf13/cobra", "its home is"},
		{"the histogram is at home in cmd", "client", isCode, "github.com/HdrHistogram/hdrhistogram-go", "its home is"},
		{"a module of a similar name has no home", "concrete/tcp", isCode, "github.com/cloudwego/netpollx", "has no home"},
		{"a new module has no home", "cmd/trefoil", isCode, "github.com/somebody/something", "has no home"},
		{"a new folder has no layer", "util", isCode, "trefoil/abstract", "in no layer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := violation(tt.dir, tt.test, tt.imp)
			if tt.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.Contains(t, got, tt.want)
		})
	}
}

// TestClientIsLight checks what a program links that imports the client: the
// standard library, netpoll, go-json, and what those two need.
func TestClientIsLight(t *testing.T) {
	allowed := map[string]bool{module: true}
	for mod := range modulesOf(t, "github.com/cloudwego/netpoll", "github.com/goccy/go-json") {
		allowed[mod] = true
	}
	for mod, pkg := range modulesOf(t, "./client") {
		assert.True(t, allowed[mod], "importing the client links %s of module %s", pkg, mod)
	}
}

// modulesOf returns the modules that the packages need when built, and for each
// of them one package that is needed.
func modulesOf(t *testing.T, packages ...string) map[string]string {
	t.Helper()
	args := append([]string{"list", "-e", "-deps", "-json=ImportPath,Module"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %v", args)

	modules := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Module     *struct{ Path string }
		}
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if p.Module != nil { // nil for the standard library
			modules[p.Module.Path] = p.ImportPath
		}
	}
	require.NotEmpty(t, modules)
	return modules
}

// source is one Go file of the module, whatever its build constraints say.
type source struct {
	path string // from the root, with slashes
	dir  string // of its package; "." is the root
	test bool
	fset *token.FileSet
	file *ast.File
}

func (s *source) imports() []string {
	var list []string
	for _, spec := range s.file.Imports {
		if imp, err := strconv.Unquote(spec.Path.Value); err == nil {
			list = append(list, imp)
		}
	}
	return list
}

// line is where a node stands, for a complaint about it.
func (s *source) line(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

func loadSources(t *testing.T) []*source {
	t.Helper()
	var sources []*source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && foreign(p, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".go":
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		sources = append(sources, parseSource(t, filepath.ToSlash(p), string(text)))
		return nil
	})
	require.NoError(t, err)
	return sources
}

func parseSource(t *testing.T, name, text string) *source {
	t.Helper()
	s := &source{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	return s
}

// foreign reports whether a directory is none of the module's: what the go
// command skips too, and modules of their own.
func foreign(dir, name string) bool {
	if name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// packagesOf groups files by directory, in order.
func packagesOf(sources []*source) ([]string, map[string][]*source) {
	byDir := make(map[string][]*source)
	for _, s := range sources {
		byDir[s.dir] = append(byDir[s.dir], s)
	}
	return slices.Sorted(maps.Keys(byDir)), byDir
}
