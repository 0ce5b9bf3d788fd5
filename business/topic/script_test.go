package topic

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
)

// TestScripts plays the stories in testdata. A line is what a connection does,
// the indented lines below it are what happens, in order: who gets the message,
// whose subscriptions end, then the answer after "=".
//
//	1 create TOPIC
//	1 remove TOPIC
//	1 subscribe TOPIC
//	1 cancel TOPIC
//	1 publish TOPIC
//	1 gone
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

// play returns the script with what really happened.
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
		for _, happened := range act(t, b, strings.Fields(line)) {
			fmt.Fprintln(&out, "\t"+happened)
		}
	}
	require.NoError(t, lines.Err())
	return out.String()
}

// act does what one line says and returns what happens.
func act(t *testing.T, b *broker, words []string) []string {
	n, err := strconv.ParseUint(words[0], 10, 64)
	require.NoError(t, err, "%v", words)
	conn := ConnID(n)
	switch words[1] {
	case "create":
		txn, err := b.tm.PlanCreate(words[2], Draft{})
		return outcome("subscription ends", b.run(txn), err)
	case "remove":
		txn, err := b.tm.PlanRemove(words[2])
		return outcome("subscription ends", b.run(txn), err)
	case "subscribe":
		_, err := b.tm.Subscribe(conn, words[2])
		return outcome("", nil, err)
	case "cancel":
		sub, err := b.tm.Cancel(conn, words[2])
		if err != nil {
			return outcome("", nil, err)
		}
		return outcome("subscription ends", []*Subscription{sub}, nil)
	case "publish":
		subs, err := b.tm.Publish(words[2])
		return outcome("gets it", subs, err)
	case "gone":
		lines := outcome("subscription ends", b.tm.Disconnect(conn), nil)
		return lines[:len(lines)-1] // nobody to answer
	}
	require.Fail(t, "unknown action", "%v", words)
	return nil
}

func outcome(what string, subs []*Subscription, err error) []string {
	var lines []string
	for _, sub := range subs {
		lines = append(lines, fmt.Sprintf("%d %s: %s", sub.Conn, what, sub.Filter))
	}
	return append(lines, "= "+abstract.CodeOf(err).String())
}
