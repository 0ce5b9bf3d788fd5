package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trefoil/client"
)

// completer finds what the word at the cursor may become.
type completer struct{ sh *treeShell }

const (
	completeWithin = 500 * time.Millisecond // typing waits for it
	maxCandidates  = 200
)

// candidate is a word, and whether the line can go on behind it without a space.
type candidate struct {
	word string
	open bool
}

// complete returns what line, up to the cursor, becomes, and what there is to choose
// from when that is more than one thing.
func (c completer) complete(line string) (longer string, choice []string) {
	words, word, open := splitOpen(line)
	if open != 0 {
		return line, nil
	}
	begun := ""
	if word != nil {
		begun = *word
	}
	found := c.candidates(words, begun)
	if len(found) == 0 {
		return line, nil
	}
	before := strings.TrimSuffix(line, quoteWord(begun))
	if len(before) == len(line) && begun != "" {
		return line, nil // it is quoted in another way: left alone
	}
	if len(found) == 1 {
		longer = before + quoteWord(found[0].word)
		if !found[0].open {
			longer += " "
		}
		return longer, nil
	}
	prefix := found[0].word
	for _, f := range found {
		choice = append(choice, f.word)
		for !strings.HasPrefix(f.word, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return before + quoteWord(strings.ToValidUTF8(prefix, "")), choice
}

// candidates are the words that begin as the one at the cursor does, in order.
func (c completer) candidates(words []string, begun string) []candidate {
	var found []candidate
	switch {
	case len(words) == 0:
		found = c.commands()
	case strings.HasPrefix(begun, "-"):
		found = c.flags(words)
	case slices.Contains([]string{"topic", "pub", "sub"}, words[0]):
		found = c.topics(words, begun)
	case len(words) == 1 || strings.HasPrefix(words[len(words)-1], "-"):
		found = c.paths(begun)
	}
	return offered(found, begun)
}

// offered are those of the words that go on as begun, in order. A word that could
// steer the terminal is not put into the line.
func offered(found []candidate, begun string) []candidate {
	found = slices.DeleteFunc(found, func(f candidate) bool {
		return !strings.HasPrefix(f.word, begun) || strings.ContainsFunc(f.word, unicode.IsControl)
	})
	slices.SortFunc(found, func(a, b candidate) int { return strings.Compare(a.word, b.word) })
	return found
}

func (c completer) commands() []candidate {
	root, _ := c.sh.verbs()
	var found []candidate
	for _, cmd := range root.Commands() {
		found = append(found, candidate{word: cmd.Name()})
	}
	for _, o := range own {
		found = append(found, candidate{word: o.name})
	}
	return found
}

func (c completer) flags(words []string) []candidate {
	root, _ := c.sh.verbs()
	var found []candidate
	if cmd, _, err := root.Find(words); err == nil && cmd != root {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { found = append(found, candidate{word: "--" + f.Name}) })
	}
	if words[0] == "watch" {
		found = append(found, candidate{word: "--subtree"}, candidate{word: "--children"})
	}
	return found
}

// topics are the commands below topic, and where a topic's name is expected those that
// there are.
func (c completer) topics(words []string, begun string) []candidate {
	root, _ := c.sh.verbs()
	cmd, args, err := root.Find(words)
	if err != nil {
		return nil
	}
	if value, ok := c.flagValues(cmd, words, args, begun); ok {
		return value
	}
	var found []candidate
	for _, below := range cmd.Commands() {
		found = append(found, candidate{word: below.Name()})
	}
	args = argumentsAmong(args)
	if cmd.ValidArgsFunction == nil || !c.sh.conn.Connected() {
		return found
	}
	names, _ := cmd.ValidArgsFunction(cmd, args, begun)
	for _, name := range names {
		found = append(found, candidate{word: name})
	}
	return found
}

// flagValues are those of the flag that the last word is; ok: it is one that takes a value.
func (c completer) flagValues(cmd *cobra.Command, words, args []string, begun string) (found []candidate, ok bool) {
	name, is := strings.CutPrefix(words[len(words)-1], "--")
	flag := cmd.Flags().Lookup(name)
	if !is || flag == nil || flag.NoOptDefVal != "" {
		return nil, false
	}
	complete, known := cmd.GetFlagCompletionFunc(name)
	if !known || !c.sh.conn.Connected() {
		return nil, true
	}
	values, _ := complete(cmd, argumentsAmong(args), begun)
	for _, value := range values {
		found = append(found, candidate{word: value})
	}
	return found, true
}

// argumentsAmong are the words that are no flags.
func argumentsAmong(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return strings.HasPrefix(word, "-") })
}

// paths are the nodes beside the one that is begun. It does not wait for long.
func (c completer) paths(begun string) []candidate {
	if begun == "" {
		return []candidate{{"/", true}}
	}
	dir := begun[:strings.LastIndexByte(begun, '/')+1]
	parent := strings.TrimSuffix(dir, "/")
	if parent == "" {
		parent = "/"
	}
	if !strings.HasPrefix(begun, "/") || !c.sh.conn.Connected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	list, err := c.sh.nodes.List(ctx, parent)
	if err != nil {
		return nil
	}
	var found []candidate
	for _, n := range list {
		found = append(found, childCandidate(n))
	}
	return found
}

func childCandidate(n client.Node) candidate {
	if n.Stat.Children > 0 {
		return candidate{n.Path + "/", true}
	}
	return candidate{word: n.Path}
}

// columns lays words out for a terminal of a width.
func columns(words []string, width int) string {
	more := len(words) - maxCandidates
	words = words[:min(len(words), maxCandidates)]
	longest := 1
	for i := range words {
		longest = max(longest, len([]rune(words[i])))
	}
	each := max(1, width/(longest+2))
	var b strings.Builder
	for i, w := range words {
		end := "\n"
		if (i+1)%each != 0 && i+1 < len(words) {
			end = strings.Repeat(" ", longest+2-len([]rune(w)))
		}
		b.WriteString(oneLine(w) + end)
	}
	if more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return b.String()
}
