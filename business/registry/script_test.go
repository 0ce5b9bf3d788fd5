package registry

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// TestScripts plays the stories in testdata. A line is what a connection does,
// the indented lines below it are what is sent, in order: notices with the
// number of who gets them, then the answer after "=".
//
//	1 register METHOD[,METHOD] HOST [instance=ID] [hello] [weight=N] [draining]
//	1 unregister METHOD[,METHOD] HOST [instance=ID]
//	1 discover METHOD
//	1 gone
//	1 lost
//	0 mark HOST STATE
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(text), play(t, text))
		})
	}
}

// play returns the script with what was really sent.
func play(t *testing.T, script []byte) string {
	b := newBroker(t, Config{})
	var out strings.Builder
	lines := bufio.NewScanner(bytes.NewReader(script))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "\t") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for _, sent := range act(t, b, strings.Fields(line)) {
			fmt.Fprintln(&out, "\t"+sent)
		}
	}
	require.NoError(t, lines.Err())
	return out.String()
}

// act does what one line says and returns what is sent.
func act(t *testing.T, b *broker, words []string) []string {
	n, err := strconv.ParseUint(words[0], 10, 64)
	require.NoError(t, err, "%v", words)
	conn := ConnID(n)
	switch words[1] {
	case "register":
		return answer(b.register(conn, parseProvider(t, words[3:]), strings.Split(words[2], ",")...), "ok")
	case "unregister":
		return answer(b.unregister(conn, parseProvider(t, words[3:]), strings.Split(words[2], ",")...), "ok")
	case "mark":
		host, err := abstract.ParseHost(words[2])
		require.NoError(t, err)
		state, ok := abstract.ParseProviderState(words[3])
		require.True(t, ok, words[3])
		return answer(b.pd.Mark(host, state), "")
	case "lost":
		b.pd.Forget(conn)
		return answer(b.pd.Lose(conn), "")
	case "discover":
		hosts := "service not found"
		if list := b.discover(conn, words[2]); len(list) > 0 {
			hosts = describeHosts(list)
		}
		return answer(nil, hosts)
	case "gone":
		return answer(b.gone(conn), "")
	}
	require.Fail(t, "unknown action", "%v", words)
	return nil
}

func answer(notices []Notice, text string) []string {
	var lines []string
	for _, n := range notices {
		lines = append(lines, describe(n))
	}
	if text != "" {
		lines = append(lines, "= "+text)
	}
	return lines
}

func describeHosts(list []message.ProviderHost) string {
	var hosts []string
	for _, p := range list {
		hosts = append(hosts, describeHost(p))
	}
	return strings.Join(hosts, "; ")
}

func parseProvider(t *testing.T, words []string) (p message.ProviderHost) {
	var err error
	p.Host, err = abstract.ParseHost(words[0])
	require.NoError(t, err)
	for _, word := range words[1:] {
		if id, ok := strings.CutPrefix(word, "instance="); ok {
			p.Instance = id
			continue
		}
		if n, ok := strings.CutPrefix(word, "weight="); ok {
			p.Weight, err = strconv.Atoi(n)
			require.NoError(t, err)
			continue
		}
		if word == "draining" {
			p.State = abstract.Retiring
			continue
		}
		require.Equal(t, "hello", word)
		p.Hello = true
	}
	return p
}
