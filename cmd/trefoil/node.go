package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

// nodeSettings is what the flags of the commands on nodes say.
type nodeSettings struct {
	session, sequential, parents bool
	recursive, long              bool
	linearizable                 bool
	subtree, children            bool
	key, epoch                   string
	version, from                int
}

// maxNodeInput is how much is read of a file for a node: one byte more than fits.
const maxNodeInput = 1<<20 + 1

func (a *app) nodeCommand() *cobra.Command {
	node := &cobra.Command{
		Use:   "node",
		Short: "Read, write and watch the tree of nodes",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: create, get, set, delete, ls, stat, exists, watch, multi or sync; 'trefoil shell' does it interactively")
		},
	}
	node.AddCommand(a.nodeVerbs()...)
	node.AddCommand(a.nodeVerb("watch PATH [flags]", "Print what changes at a node, its children or everything below it", cobra.ExactArgs(1), a.nodeWatch))
	return node
}

// nodeVerbs are the commands that end by themselves; the shell has them too.
func (a *app) nodeVerbs() []*cobra.Command {
	create := a.nodeVerb("create PATH [DATA] [flags]", "Make a node", cobra.RangeArgs(1, 2), a.nodeCreate)
	create.Long = "Make a node. DATA is text; - reads standard input, @FILE a file. With --session the node\n" +
		"goes when this command ends, so it stays until it is interrupted."
	return []*cobra.Command{
		create,
		a.nodeVerb("get PATH [flags]", "Print a node's data", cobra.ExactArgs(1), a.nodeGet),
		a.nodeVerb("set PATH DATA [flags]", "Replace a node's data: text, - for standard input, or @FILE", cobra.ExactArgs(2), a.nodeSet),
		a.nodeVerb("delete PATH [flags]", "Delete a node", cobra.ExactArgs(1), a.nodeDelete),
		a.nodeVerb("ls [PATH] [flags]", "List the children of a node, or of the root", cobra.MaximumNArgs(1), a.nodeList),
		a.nodeVerb("stat PATH [flags]", "Print what is known of a node", cobra.ExactArgs(1), a.nodeStat),
		a.nodeVerb("exists PATH [flags]", "Exit with 0 when a node is there, and with 1 when it is not", cobra.ExactArgs(1), a.nodeExists),
		a.nodeVerb("multi [FILE] [flags]", "Do all of the operations in a file, one JSON object a line, or none", cobra.MaximumNArgs(1), a.nodeMulti),
		a.nodeVerb("sync [flags]", "Wait until reads see everything that was acknowledged to anybody", cobra.NoArgs, a.nodeSync),
	}
}

// nodeVerb makes a command whose flags stand under "node-" and its name in the table.
func (a *app) nodeVerb(use, short string, args cobra.PositionalArgs, do action) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return a.command(cobra.Command{
		Use: use, Short: short, Args: args,
		Annotations: map[string]string{inTable: "node-" + name},
	}, do)
}

// withNodes connects, does something with nodes, and disconnects; inside a shell it
// uses the shell's connection.
func (a *app) withNodes(ctx context.Context, s *settings, do func(context.Context, *client.NodeClient) error) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn := a.shared
	if conn == nil {
		var err error
		if conn, err = a.dial(ctx, s); err != nil {
			return err
		}
		defer conn.Close()
	}
	return do(ctx, client.NewNodeClient(conn))
}

// nodeData is the data that an argument stands for.
func (a *app) nodeData(arg string) ([]byte, error) {
	var from io.Reader
	switch {
	case arg == "-":
		from = a.stdin
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	default:
		return []byte(arg), nil
	}
	data, err := io.ReadAll(io.LimitReader(from, maxNodeInput))
	if len(data) == maxNodeInput {
		return nil, errors.New("a node holds at most 1 MiB; put larger data elsewhere, and its address into the node")
	}
	return data, err
}

// options are those that the flags say.
func (n *nodeSettings) options() []client.NodeOption {
	var opts []client.NodeOption
	for _, o := range []struct {
		on  bool
		opt client.NodeOption
	}{
		{n.session, client.SessionNode()}, {n.sequential, client.Sequential()}, {n.parents, client.MakeParents()},
		{n.key != "", client.OnceAs(n.key)}, {n.version != 0, client.IfVersion(int64(n.version))},
		{n.recursive, client.Recursive()}, {n.linearizable, client.Linearizable()},
	} {
		if o.on {
			opts = append(opts, o.opt)
		}
	}
	return opts
}

// nodePath says what was done to a node, for programs.
type nodePath struct {
	Event   string `json:"event"` // created, set or deleted
	Path    string `json:"path"`
	Session string `json:"session,omitempty"`
	Version int64  `json:"version,omitempty"`
}

func (a *app) nodeCreate(ctx context.Context, s *settings, args []string) error {
	var data []byte
	if len(args) == 2 {
		var err error
		if data, err = a.nodeData(args[1]); err != nil {
			return err
		}
	}
	if !s.node.session || a.shared != nil {
		return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
			return a.create(ctx, s, n, args[0], data)
		})
	}
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	conn, end, err := a.dialForLong(ctx, s, client.OnSessionExpired(func(string) { lost(errSessionLost) }))
	if err != nil {
		return err
	}
	defer end()
	if err := a.create(ctx, s, client.NewNodeClient(conn), args[0], data); err != nil {
		return err
	}
	fmt.Fprintln(a.stderr, "the node stays until this command is interrupted")
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errSessionLost) {
		return errSessionLost
	}
	return nil
}

// errSessionLost ends a command whose node is no more.
var errSessionLost error = &plainError{"the session has ended, and its node with it: nothing was heard of this process for too long", abstract.ErrSessionExpired}

func (a *app) create(ctx context.Context, s *settings, n *client.NodeClient, path string, data []byte) error {
	path, err := n.Create(ctx, path, data, s.node.options()...)
	if err != nil {
		return err
	}
	return a.say(s, nodePath{Event: "created", Path: path}, "%s", printable(path))
}

func (a *app) nodeGet(ctx context.Context, s *settings, args []string) error {
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		node, err := n.Get(ctx, args[0], s.node.options()...)
		if err != nil {
			return err
		}
		return a.showData(s, node)
	})
}

func (a *app) nodeSet(ctx context.Context, s *settings, args []string) error {
	data, err := a.nodeData(args[1])
	if err != nil {
		return err
	}
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		node, err := n.Set(ctx, args[0], data, s.node.options()...)
		if err != nil {
			return err
		}
		return a.say(s, nodePath{Event: "set", Path: args[0], Version: node.Stat.Version}, "version %d", node.Stat.Version)
	})
}

func (a *app) nodeDelete(ctx context.Context, s *settings, args []string) error {
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		if err := n.Delete(ctx, args[0], s.node.options()...); err != nil {
			return err
		}
		return a.say(s, nodePath{Event: "deleted", Path: args[0]}, "deleted %s", printable(args[0]))
	})
}

func (a *app) nodeList(ctx context.Context, s *settings, args []string) error {
	path := "/"
	if len(args) == 1 {
		path = args[0]
	}
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		list, err := n.List(ctx, path, s.node.options()...)
		if err != nil {
			return err
		}
		return a.showList(s, path, list)
	})
}

func (a *app) nodeStat(ctx context.Context, s *settings, args []string) error {
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		node, err := n.Stat(ctx, args[0], s.node.options()...)
		if err != nil {
			return err
		}
		return a.showStat(s, node)
	})
}

// errNotThere makes exists end with exit status 1.
var errNotThere = errors.New("there is no such node")

func (a *app) nodeExists(ctx context.Context, s *settings, args []string) error {
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		there, err := n.Exists(ctx, args[0], s.node.options()...)
		if err != nil {
			return err
		}
		if err := a.say(s, struct {
			Path   string `json:"path"`
			Exists bool   `json:"exists"`
		}{args[0], there}, "%t", there); err != nil || there || a.shared != nil {
			return err
		}
		return &reportedError{errNotThere}
	})
}

func (a *app) nodeSync(ctx context.Context, s *settings, _ []string) error {
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		revision, err := n.Sync(ctx)
		if err != nil {
			return err
		}
		return a.say(s, struct {
			Revision int64 `json:"revision"`
		}{revision}, "revision %d", revision)
	})
}

// nodeOp is one line of a multi.
type nodeOp struct {
	Op         string `json:"op"`
	Path       string `json:"path"`
	Data       opData `json:"data"`
	Session    bool   `json:"session"`
	Sequential bool   `json:"sequential"`
	Parents    bool   `json:"parents"`
	Key        string `json:"key"`
	Version    int    `json:"version"`
	Created    int64  `json:"created"`
	Modified   int64  `json:"modified"`
}

// opData is data in a line of a multi: a string, or {"base64":"..."} for what is no
// text.
type opData []byte

func (d *opData) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*d = opData(text)
		return nil
	}
	var bytes struct {
		Base64 *[]byte `json:"base64"`
	}
	if json.Unmarshal(b, &bytes) != nil || bytes.Base64 == nil {
		return errors.New(`data is a string, or {"base64":"..."}`)
	}
	*d = *bytes.Base64
	return nil
}

// maxMultiLine is the longest line of a multi: a node's data, most of it escaped.
const maxMultiLine = 7 << 20

func (a *app) nodeMulti(ctx context.Context, s *settings, args []string) error {
	from := a.stdin
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	ops, err := readOps(from)
	if err != nil {
		return err
	}
	return a.withNodes(ctx, s, func(ctx context.Context, n *client.NodeClient) error {
		results, err := n.Multi(ctx, ops...)
		if err != nil {
			return multiError(err)
		}
		for _, node := range results {
			if err := a.say(s, nodePath{Path: node.Path, Event: "done", Version: node.Stat.Version}, "%s", printable(node.Path)); err != nil {
				return err
			}
		}
		return nil
	})
}

func readOps(from io.Reader) ([]client.NodeOp, error) {
	var ops []client.NodeOp
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, maxMultiLine)
	for line := 1; scanner.Scan(); line++ {
		if strings.TrimSpace(scanner.Text()) == "" {
			continue
		}
		op, err := parseOp(scanner.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		ops = append(ops, op)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read the operations: %w", err)
	}
	if len(ops) == 0 {
		return nil, errors.New(`there are no operations; write one JSON object a line: {"op":"set","path":"/a","data":"x"}`)
	}
	return ops, nil
}

func parseOp(line []byte) (client.NodeOp, error) {
	var op nodeOp
	dec := json.NewDecoder(strings.NewReader(string(line)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&op); err != nil {
		return client.NodeOp{}, err
	}
	n := nodeSettings{session: op.Session, sequential: op.Sequential, parents: op.Parents, key: op.Key, version: op.Version}
	opts := n.options()
	if op.Created != 0 {
		opts = append(opts, client.IfCreated(op.Created))
	}
	if op.Modified != 0 {
		opts = append(opts, client.IfModified(op.Modified))
	}
	switch op.Op {
	case "create":
		return client.CreateOp(op.Path, op.Data, opts...), nil
	case "set":
		return client.SetOp(op.Path, op.Data, opts...), nil
	case "delete":
		return client.DeleteOp(op.Path, opts...), nil
	case "check":
		return client.CheckOp(op.Path, opts...), nil
	}
	return client.NodeOp{}, fmt.Errorf("op %q is not known; it is create, set, delete or check", op.Op)
}

// multiError names the operation that failed by its line among those that are not empty.
func multiError(err error) error {
	var e *abstract.Error
	var failed struct {
		Op *int `json:"op"`
	}
	if errors.As(err, &e) && json.Unmarshal(e.Details, &failed) == nil && failed.Op != nil {
		return &plainError{"operation " + strconv.Itoa(*failed.Op+1) + ": " + e.Message + "; nothing was done", err}
	}
	return err
}

func (a *app) nodeWatch(ctx context.Context, s *settings, args []string) error {
	if s.node.subtree && s.node.children {
		return usagef("--subtree and --children are two scopes; give one")
	}
	conn, end, err := a.dialForLong(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	nodes := client.NewNodeClient(conn)
	var watch *client.Watch
	if s.node.from != 0 {
		watch, err = nodes.WatchFrom(ctx, args[0], s.node.scope(), int64(s.node.from), s.node.epoch)
	} else {
		watch, err = nodes.Watch(ctx, args[0], s.node.scope())
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "watching %s from revision %d of epoch %s on\n", printable(args[0]), watch.Revision(), nodes.Epoch())
	for shown := 0; s.count == 0 || shown < s.count; {
		e, err := watch.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.showEvent(s, args[0], e); err != nil {
			return err
		}
		shown += max(len(e.Changes), 1)
	}
	return nil
}

func (n *nodeSettings) scope() client.NodeScope {
	switch {
	case n.subtree:
		return client.ScopeSubtree
	case n.children:
		return client.ScopeChildren
	}
	return client.ScopeNode
}
