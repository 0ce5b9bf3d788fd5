package config

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// sample has a setting of every type.
type sample struct {
	listen string
	fast   bool
	conns  int
	frame  Size
	wait   time.Duration
	serve  []string
	levels map[string]string
	level  string
	token  string
}

func sampleTable(to *sample) Table {
	return Table{
		{Key: "listen", Flag: "listen", To: &to.listen, Default: "127.0.0.1:7700", Help: "where", Check: func(text string) error {
			if !strings.Contains(text, ":") {
				return errors.New("no port in it")
			}
			return nil
		}},
		{Key: "serve", Flag: "serve", To: &to.serve, Default: "rpc,topic", Choices: []string{"rpc", "registry", "topic"}, Min: "1", Help: "roles"},
		{Key: "fast", Flag: "fast", To: &to.fast, Default: "false", Help: "fast"},
		{Key: "limits.conns", Flag: "max-conns", To: &to.conns, Default: "100", Min: "1", Max: "1000", Help: "conns"},
		{Key: "limits.frame", Flag: "max-frame", To: &to.frame, Default: "8MiB", Min: "1KiB", Max: "1GiB", Help: "frame", Reload: true},
		{Key: "limits.wait", Flag: "wait", To: &to.wait, Default: "10s", Min: "1ms", Max: "7d", Help: "wait"},
		{Key: "log.level", Flag: "log-level", To: &to.level, Default: "info", Choices: []string{"debug", "info"}, Help: "level", Reload: true},
		{Key: "log.levels", Flag: "log-levels", To: &to.levels, Default: "", Names: []string{"rpc", "topic"}, Choices: []string{"debug", "info"}, Help: "levels"},
		{Key: "auth.token", To: &to.token, Default: "", Secret: true, Help: "token", Check: func(text string) error {
			if text == "wrong-secret" {
				return errors.New(text + " is wrong")
			}
			return nil
		}},
	}
}

func load(src Sources) (sample, Values, error) {
	var to sample
	values, err := sampleTable(&to).Load(src)
	return to, values, err
}

func fileSource(text string) Sources { return Sources{File: "t.json", Text: []byte(text)} }

func TestWithoutSourcesEverythingHasItsDefault(t *testing.T) {
	got, values, err := load(Sources{})
	require.NoError(t, err)
	assert.Equal(t, sample{
		listen: "127.0.0.1:7700", conns: 100, frame: 8 << 20, wait: 10 * time.Second,
		serve: []string{"rpc", "topic"}, levels: map[string]string{}, level: "info",
	}, got)
	for _, v := range values {
		assert.Equal(t, "default", v.Origin.String(), v.Key)
	}
}

func TestEveryTypeIsReadFromTheFile(t *testing.T) {
	got, values, err := load(fileSource(`{
	"listen": "unix:/run/t", "serve": ["topic", "rpc", "topic"], "fast": true,
	"limits": {"conns": 7, "frame": 4096, "wait": "1d12h"},
	"log": {"levels": {"topic": "info", "rpc": "debug"}, "level": "debug"},
	"auth": {"token": "s3cret"}
}`))
	require.NoError(t, err)
	assert.Equal(t, sample{
		listen: "unix:/run/t", fast: true, conns: 7, frame: 4096, wait: 36 * time.Hour,
		serve: []string{"topic", "rpc"}, levels: map[string]string{"rpc": "debug", "topic": "info"}, level: "debug", token: "s3cret",
	}, got)
	assert.Equal(t, "t.json:2:12", values[0].Origin.String())
	assert.Equal(t, "4KiB", values[4].Text)
	assert.Equal(t, "t.json:3:34", values[4].Origin.String())
	assert.Equal(t, "1d12h", values[5].Text)
	assert.Equal(t, "rpc=debug,topic=info", values[7].Text)
}

func TestFlagsWinOverTheEnvironmentOverTheFileOverDefaults(t *testing.T) {
	all := Sources{
		File: "t.json", Text: []byte(`{"limits": {"conns": 1, "frame": "1KiB", "wait": "1s"}}`),
		Env: func(name string) (string, bool) {
			v, ok := map[string]string{"TREFOIL_LIMITS_CONNS": "2", "TREFOIL_LIMITS_FRAME": "2KiB", "TREFOIL_LIMITS_WAIT": ""}[name]
			return v, ok
		},
		Flags: map[string]string{"max-conns": "3"},
	}
	got, values, err := load(all)
	require.NoError(t, err)
	assert.Equal(t, 3, got.conns)
	assert.Equal(t, "--max-conns", values[3].Origin.String())
	assert.Equal(t, Size(2048), got.frame)
	assert.Equal(t, "TREFOIL_LIMITS_FRAME in the environment", values[4].Origin.String())
	assert.Equal(t, time.Second, got.wait, "an empty variable says nothing")
	assert.Equal(t, "default", values[0].Origin.String())
}

func TestFaultsSayWhereTheyAreAndWhatWasMeant(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want []string // every fault begins with its place and contains the rest
	}{
		"empty":                {"", []string{"1:1|empty"}},
		"no JSON":              {"{\n  \"fast\": maybe\n}", []string{"2:11|no JSON"}},
		"cut off":              {`{"fast": true`, []string{"1:13|no JSON"}},
		"more than one value":  {"{}\n{}", []string{"2:1|no JSON"}},
		"a comment":            {"{\n// why\n}", []string{"2:1|no comments"}},
		"a comma too many":     {"{\n \"fast\": true,\n}", []string{"3:1|no comma after the last"}},
		"single quotes":        {`{'fast': true}`, []string{"1:2|double quotes"}},
		"byte order mark":      {"\xEF\xBB\xBF{}", []string{"1:1|byte order mark"}},
		"not UTF-8":            {"{\"listen\":\n \"a:\xff\"}", []string{"2:5|UTF-8"}},
		"not an object":        {` ["fast"]`, []string{"1:2|an array"}},
		"unknown key":          {`{"lisen": "a:1"}`, []string{`1:2|did you mean "listen"?`}},
		"swapped letters":      {`{"limist": {}}`, []string{`1:2|did you mean "limits"?`}},
		"unknown inner key":    {"{\"limits\": {\n\t\"frames\": 1}}", []string{`2:2|"limits.frames" is not known; did you mean "limits.frame"?`}},
		"key of another place": {`{"frame": 1}`, []string{`1:2|did you mean "limits.frame"?`}},
		"flat key":             {`{"log.level": "info"}`, []string{`1:2|{"log": {"level": ...}}`}},
		"other case":           {`{"Listen": "a:1"}`, []string{`1:2|did you mean "listen"?`}},
		"key like no other":    {`{"xyzzy": 1}`, []string{"1:2|here are known: listen, serve, fast, limits, log, auth"}},
		"empty key":            {`{"": 1}`, []string{"1:2|here are known"}},
		"key there twice":      {"{\"fast\": true,\n\"fast\": false}", []string{"2:1|twice; the first is on line 1"}},
		"object there twice":   {"{\"log\": {},\n \"log\": {}}", []string{"2:2|twice"}},
		"string for number":    {`{"limits": {"conns": "7"}}`, []string{"1:22|limits.conns is a number, not a string"}},
		"fraction":             {`{"limits": {"conns": 1.5}}`, []string{"1:22|no whole number"}},
		"huge number":          {`{"limits": {"conns": 1` + strings.Repeat("0", 40) + `}}`, []string{"1:22|fits"}},
		"number for duration":  {`{"limits": {"wait": 2}}`, []string{`1:21|limits.wait is a string such as "2s", not a number`}},
		"duration of nothing":  {`{"limits": {"wait": "soon"}}`, []string{"1:21|no duration"}},
		"negative":             {`{"limits": {"wait": "-2s"}}`, []string{"1:21|too little; it is at least 1ms"}},
		"too much":             {`{"limits": {"conns": 1001}}`, []string{"1:22|too much; it is at most 1000"}},
		"size without unit":    {`{"limits": {"frame": "8 parsecs"}}`, []string{"1:22|no size"}},
		"size too large":       {`{"limits": {"frame": "9999999999GiB"}}`, []string{"1:22|fits"}},
		"bool for object":      {`{"limits": true}`, []string{"1:12|limits is an object with settings in it"}},
		"null":                 {`{"fast": null}`, []string{"1:10|true or false, not null"}},
		"string for bool":      {`{"fast": "true"}`, []string{"1:10|true or false, not a string"}},
		"string for list":      {`{"serve": "rpc"}`, []string{"1:11|an array of strings"}},
		"number in list":       {`{"serve": ["rpc", 1]}`, []string{"1:19|this is a number"}},
		"unknown in list":      {`{"serve": ["rpc", "registrie"]}`, []string{`1:19|did you mean "registry"?; it takes rpc, registry, topic`}},
		"comma in list":        {`{"serve": ["rpc,topic"]}`, []string{"1:12|serve"}},
		"empty list":           {`{"serve": []}`, []string{"1:11|at least 1"}},
		"unknown in map":       {`{"log": {"levels": {"rcp": "info"}}}`, []string{`1:21|did you mean "rpc"?`}},
		"bad value in map":     {`{"log": {"levels": {"rpc": "loud"}}}`, []string{"1:28|log.levels.rpc: \"loud\" is not known"}},
		"number in map":        {`{"log": {"levels": {"rpc": 3}}}`, []string{"1:28|a string, not a number"}},
		"twice in map":         {`{"log": {"levels": {"rpc": "info", "rpc": "debug"}}}`, []string{"1:36|twice"}},
		"check of its own":     {`{"listen": "here"}`, []string{"1:12|listen: no port in it"}},
		"columns are letters":  {`{"listen": "ä:1", "fast": 1}`, []string{"1:27|fast is true or false"}},
		"secret is not shown":  {`{"auth": {"token": "wrong-secret"}}`, []string{"1:20|auth.token: the value cannot be used"}},
		"all of them in order": {"{\"xyzzy\": 1,\n\"limits\": {\"conns\": 0, \"wait\": \"x\"},\n\"fast\": 1}", []string{"1:2|", "2:21|at least 1", "2:32|", "3:9|"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, values, err := load(fileSource(c.file))
			var faults FaultErrors
			require.ErrorAs(t, err, &faults)
			assert.Nil(t, values)
			assert.Equal(t, sample{}, got, "nothing is stored")
			require.Len(t, faults, len(c.want), "%v", faults)
			for i, want := range c.want {
				at, text, _ := strings.Cut(want, "|")
				assert.Truef(t, strings.HasPrefix(faults[i].Error(), "t.json:"+at+": "), "%s is at %s", faults[i], at)
				assert.Contains(t, faults[i].Error(), text)
				assert.NotContains(t, faults[i].Error(), "wrong-secret")
			}
		})
	}
}

func TestFaultsOutsideOfTheFileNameTheirSource(t *testing.T) {
	_, _, err := load(Sources{
		Env:   func(name string) (string, bool) { return "loud", name == "TREFOIL_LOG_LEVEL" },
		Flags: map[string]string{"max-conns": "many"},
	})
	var faults FaultErrors
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults, 2)
	assert.Equal(t, `--max-conns: "many" is no whole number`, faults[0].Error())
	assert.Contains(t, faults[1].Error(), `TREFOIL_LOG_LEVEL in the environment: "loud" is not known`)
	assert.Contains(t, err.Error(), "1 more fault")
}

func TestListsAndPairsAsTextHaveNoHoles(t *testing.T) {
	for flag, texts := range map[string][]string{
		"serve":      {"rpc,,topic", ",rpc", "rpc,", " , "},
		"log-levels": {"rpc", "rpc=", "=info", "rpc=info,", "rpc=info,rpc=debug", "rpc=info=debug"},
	} {
		for _, text := range texts {
			row := slices.IndexFunc(sampleTable(&sample{}), func(s Setting) bool { return s.Flag == flag || s.Key == "log.levels" && flag == "log-levels" })
			_, err := sampleTable(&sample{})[row].Canonical(text)
			assert.Error(t, err, "%s=%s", flag, text)
		}
	}
}

func TestAFaultThatAFlagWouldHideIsFoundAllTheSame(t *testing.T) {
	_, _, err := load(Sources{File: "t.json", Text: []byte(`{"limits": {"conns": 0}}`), Flags: map[string]string{"max-conns": "5"}})
	assert.ErrorContains(t, err, "t.json:1:22")
}

func TestSecretsAreMaskedWhereverValuesAreShown(t *testing.T) {
	_, values, err := load(fileSource(`{"auth": {"token": "s3cret"}}`))
	require.NoError(t, err)
	v := values[len(values)-1]
	assert.Equal(t, masked, v.Shown())
	text, err := json.Marshal(values)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "s3cret")
	_, values, err = load(Sources{})
	require.NoError(t, err)
	assert.Empty(t, values[len(values)-1].Shown(), "that there is none may be seen")
}

func TestValuesAsJSONAreThoseOfAFile(t *testing.T) {
	_, values, err := load(fileSource(`{"serve": ["rpc"], "limits": {"conns": 7, "frame": "1MiB"}, "log": {"levels": {"rpc": "info"}}}`))
	require.NoError(t, err)
	text, err := json.Marshal(values)
	require.NoError(t, err)
	var back []struct {
		Key   string
		Value json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &back))
	got := make(map[string]string)
	for _, v := range back {
		got[v.Key] = string(v.Value)
	}
	assert.Equal(t, map[string]string{
		"listen": `"127.0.0.1:7700"`, "serve": `["rpc"]`, "fast": "false", "limits.conns": "7", "limits.frame": `"1MiB"`,
		"limits.wait": `"10s"`, "log.level": `"info"`, "log.levels": `{"rpc":"info"}`, "auth.token": `""`,
	}, got)
}

func TestChangedIsWhatDiffersInValue(t *testing.T) {
	_, before, err := load(fileSource(`{"limits": {"frame": "1MiB", "wait": "60s"}}`))
	require.NoError(t, err)
	_, after, err := load(fileSource(`{"limits": {"frame": 1048576, "wait": "1m", "conns": 5}, "fast": true}`))
	require.NoError(t, err)
	assert.Equal(t, []string{"fast", "limits.conns"}, after.Changed(before).Keys())
}

func TestSizesAndDurationsReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := Size(rapid.Int64Min(0).Draw(t, "size"))
		back, err := parseSize(size.String())
		require.NoError(t, err)
		require.Equal(t, size, Size(back))
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "duration"))
		n, err := parseDuration(formatDuration(d))
		require.NoError(t, err)
		require.Equal(t, d, time.Duration(n))
	})
	for text, want := range map[string]int64{"0": 0, "1kB": 1000, "4 MiB": 4 << 20, "3GB": 3e9, "12B": 12} {
		got, err := parseSize(text)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for text, want := range map[string]string{"90s": "1m30s", "168h": "7d", "500us": "500µs", "1h0m1s": "1h1s", "0": "0s"} {
		n, err := parseDuration(text)
		require.NoError(t, err)
		assert.Equal(t, want, formatDuration(time.Duration(n)))
	}
}

func TestDistanceCountsSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"level", "level", 0}, {"leveel", "level", 1}, {"levl", "level", 1}, {"lavel", "level", 1},
		{"leevl", "level", 1}, {"levels", "level", 1}, {"", "abc", 3}, {"größe", "grosse", 3},
	} {
		assert.Equal(t, c.want, distance(c.a, c.b), "%s %s", c.a, c.b)
		assert.Equal(t, c.want, distance(c.b, c.a), "%s %s", c.b, c.a)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(`{"listen": "a:1", "serve": ["rpc"], "limits": {"conns": 7, "frame": "1MiB", "wait": "2s"}}`)
	f.Add(`{"log": {"levels": {"rpc": "debug"}, "lvel": 1}, "log.level": null}`)
	f.Add("{\"a\":\n[[{}]],}")
	f.Add("\xEF\xBB\xBF{}")
	f.Fuzz(func(t *testing.T, text string) {
		_, values, err := load(fileSource(text))
		if err == nil {
			assert.True(t, json.Valid([]byte(text)))
			for _, v := range values {
				again, err := v.Canonical(v.Text)
				require.NoError(t, err)
				require.Equal(t, v.Text, again)
			}
			return
		}
		var faults FaultErrors
		require.ErrorAs(t, err, &faults)
		lines := strings.Count(text, "\n") + 1
		for _, fault := range faults {
			require.Positive(t, fault.Origin.Line)
			require.LessOrEqual(t, fault.Origin.Line, lines)
			require.Positive(t, fault.Origin.Column)
		}
	})
}
