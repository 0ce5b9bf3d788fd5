package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"trefoil/client"
)

func (a *app) shellCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "shell [flags]",
		Short: "Work on the tree of nodes, and on topics, interactively, in one session",
		Long: "Work on the tree of nodes, and on topics, interactively. Session nodes that are made here\n" +
			"live until the shell is left. When standard input is no terminal, its lines are the\n" +
			"commands, and the first that fails ends the shell with exit status 1, unless\n" +
			"--keep-going is given.",
		Args: cobra.NoArgs,
	}, a.shell)
}

// treeShell is an interactive session on one connection.
type treeShell struct {
	app     *app
	set     *settings
	conn    *client.Conn
	nodes   *client.NodeClient
	out     io.Writer // also what others print meanwhile
	watches map[string]*shellWatch
	ended   sync.WaitGroup // their goroutines

	mu  sync.Mutex
	say func(string) // prints a line that nobody asked for
}

// shellWatch is one watch, which prints what it sees until it is closed.
type shellWatch struct {
	*client.Watch
	stop context.CancelFunc
	over atomic.Bool // it has ended by itself
}

// errLeave ends a shell.
var errLeave = errors.New("leave")

func (a *app) shell(ctx context.Context, s *settings, _ []string) error {
	ctx, stop := untilHangup(ctx)
	defer stop()
	sh := &treeShell{app: a, set: s, watches: make(map[string]*shellWatch)}
	sh.tell(func(line string) { fmt.Fprintln(a.stderr, line) })
	var lost atomic.Bool
	var err error
	sh.conn, err = a.dial(ctx, s,
		client.OnDisconnected(func(error) {
			lost.Store(true)
			sh.note("the connection is lost; connecting again")
		}),
		client.OnConnected(func() {
			if lost.Load() {
				sh.note("connected again")
			}
		}),
		client.OnSessionExpired(func(id string) {
			sh.note("session " + id + " has ended, and its nodes are gone; the shell has a new one")
		}),
	)
	if err != nil {
		return err
	}
	defer sh.close()
	sh.nodes = client.NewNodeClient(sh.conn)
	if t, ok := openTerminal(a.stdin, a.stdout); ok {
		defer t.close()
		return sh.interact(ctx, t)
	}
	return sh.script(ctx)
}

// tell sets how lines are printed that nobody asked for.
func (sh *treeShell) tell(say func(string)) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.say = say
}

// note prints such a line.
func (sh *treeShell) note(line string) {
	sh.mu.Lock()
	say := sh.say
	sh.mu.Unlock()
	say(line)
}

// close ends the watches and the session.
func (sh *treeShell) close() {
	for _, w := range sh.watches {
		w.stop()
	}
	sh.tell(func(string) {}) // it is our own doing now
	_ = sh.conn.Close()
	sh.ended.Wait()
}

// script does the commands that standard input has, one a line.
func (sh *treeShell) script(ctx context.Context) error {
	sh.out = sh.app.stdout
	failed := 0
	n := 0
	for line, err := range lines(ctx, sh.app.stdin) {
		if err != nil {
			return err
		}
		n++
		err = sh.do(ctx, line)
		switch {
		case err == nil:
		case errors.Is(err, errLeave):
			return nil
		case !sh.set.keepGoing:
			return fmt.Errorf("line %d: %w", n, err)
		default:
			failed++
			fmt.Fprintf(sh.app.stderr, "line %d: %s\n", n, inWords(err))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d commands failed", failed, n)
	}
	return nil
}

// interact reads commands from a terminal until it is left.
func (sh *treeShell) interact(ctx context.Context, t *terminal) error {
	sh.out = t
	sh.tell(func(line string) { fmt.Fprintln(t, oneLine(line)) })
	t.complete(completer{sh}.complete)
	fmt.Fprintf(t, "connected to %s, session %s; 'help' says what can be done\n", oneLine(sh.set.brokerAddr()), sh.conn.SessionID())
	for {
		line, err := t.readLine(ctx)
		if err != nil {
			return nothingWrong(ctx, err)
		}
		running, done := t.interruptible(ctx)
		err = sh.do(running, line)
		done()
		switch {
		case errors.Is(err, errLeave):
			return nil
		case err != nil && ctx.Err() == nil:
			fmt.Fprintf(t, "%s\n", inWords(err))
		}
	}
}

// nothingWrong is the error of a shell that has read its last line: none when it was
// left, or ended by a signal.
func nothingWrong(ctx context.Context, err error) error {
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// own are the commands that only a shell has.
var own = []struct{ name, use, help string }{
	{"watch", "watch PATH [--subtree | --children]", "print what changes, while other commands go on"},
	{"unwatch", "unwatch PATH", "end that"},
	{"session", "session", "show the shell's session"},
	{"help", "help", "show this"},
	{"exit", "exit", "leave; session nodes that were made here go (also: quit, Ctrl-D)"},
}

// do does one line.
func (sh *treeShell) do(ctx context.Context, line string) error {
	args, err := splitLine(line)
	if err != nil || len(args) == 0 {
		return err
	}
	switch args[0] {
	case "exit", "quit":
		return errLeave
	case "help":
		return sh.help()
	case "session":
		_, err := fmt.Fprintln(sh.out, sh.conn.SessionID())
		return err
	case "watch":
		return sh.watch(ctx, args[1:])
	case "unwatch":
		return sh.unwatch(ctx, args[1:])
	}
	return sh.verb(ctx, args)
}

// verb does a command that trefoil or trefoil node has too, with the shell's connection.
func (sh *treeShell) verb(ctx context.Context, args []string) error {
	root, a := sh.verbs()
	if !slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == args[0] }) {
		return fmt.Errorf("there is no command %q; 'help' shows what there is", args[0])
	}
	root.SetArgs(nodeKind(args))
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		return fmt.Errorf("%w; '%s --help' shows how", err, args[0])
	}
	return err
}

// noInput is the standard input of a shell's commands, which is the shell's own.
type noInput struct{}

func (noInput) Read([]byte) (int, error) {
	return 0, errors.New("a shell's commands have no standard input; give the text itself, or a file")
}

// verbs are the commands on nodes and topics, which print to the shell.
func (sh *treeShell) verbs() (*cobra.Command, *app) {
	a := &app{stdin: noInput{}, stdout: sh.out, stderr: sh.out, shared: sh.conn}
	root := &cobra.Command{Use: "shell", SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}}
	root.SetOut(sh.out)
	root.SetErr(sh.out)
	root.AddCommand(a.nodeVerbs()...)
	root.AddCommand(a.topicCommand(), a.pubCommand(), a.subCommand())
	return root, a
}

// nodeKind takes the form of the LV family's command line, where a number behind a
// node's data says what kind it is: 1 permanent, 2 of the session.
func nodeKind(args []string) []string {
	if len(args) != 4 || args[0] != "create" || strings.HasPrefix(args[2], "-") {
		return args
	}
	switch args[3] {
	case "1":
		return args[:3]
	case "2":
		return append(slices.Clone(args[:3]), "--session")
	}
	return args
}

func (sh *treeShell) help() error {
	root, _ := sh.verbs()
	var b strings.Builder
	for _, c := range root.Commands() {
		fmt.Fprintf(&b, "%-38s %s\n", strings.TrimSuffix(c.Use, " [flags]"), c.Short)
	}
	for _, c := range own {
		fmt.Fprintf(&b, "%-38s %s\n", c.use, c.help)
	}
	b.WriteString("flags: COMMAND --help. create PATH DATA 2 makes a session node, as --session does.\n")
	_, err := io.WriteString(sh.out, b.String())
	return err
}

// watch prints what changes at a part of the tree from now on.
func (sh *treeShell) watch(ctx context.Context, args []string) error {
	n := nodeSettings{}
	var paths []string
	for _, arg := range args {
		switch arg {
		case "--subtree":
			n.subtree = true
		case "--children":
			n.children = true
		default:
			paths = append(paths, arg)
		}
	}
	if len(paths) != 1 || n.subtree && n.children {
		return errors.New("say what to watch: watch PATH, with --subtree or --children for more than the node itself")
	}
	path := paths[0]
	if old := sh.watches[path]; old != nil && !old.over.Load() {
		return fmt.Errorf("%s is being watched; 'unwatch %s' ends that", path, path)
	}
	w, err := sh.nodes.Watch(ctx, path, n.scope())
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(context.Background())
	mine := &shellWatch{Watch: w, stop: stop}
	sh.watches[path] = mine
	a := &app{stdout: sh.out, shared: sh.conn}
	sh.ended.Go(func() {
		for e, err := range w.Events(watching) {
			if err == nil {
				err = a.showEvent(sh.set, path, e)
			}
			if err != nil {
				mine.over.Store(true)
				if watching.Err() == nil {
					sh.note("the watch of " + path + " has ended: " + err.Error())
				}
				return
			}
		}
	})
	return nil
}

func (sh *treeShell) unwatch(ctx context.Context, args []string) error {
	if len(args) != 1 || sh.watches[args[0]] == nil {
		return errors.New("say which watch to end: unwatch PATH")
	}
	w := sh.watches[args[0]]
	delete(sh.watches, args[0])
	w.stop()
	return w.Close(ctx)
}
