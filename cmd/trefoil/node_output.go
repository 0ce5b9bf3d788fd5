package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"trefoil/client"
)

// nodeOutput is a node for programs.
type nodeOutput struct {
	Path             string  `json:"path"`
	Data             *string `json:"data,omitempty"`
	Base64           string  `json:"base64,omitempty"` // in place of data that is no UTF-8
	Version          int64   `json:"version"`
	Created          int64   `json:"created"`
	Modified         int64   `json:"modified"`
	Children         int64   `json:"children"`
	ChildrenModified int64   `json:"children_modified"`
	Session          string  `json:"session,omitempty"`
	Size             int64   `json:"size"`
	CtimeMs          int64   `json:"ctime_ms"`
	MtimeMs          int64   `json:"mtime_ms"`
	Revision         int64   `json:"revision,omitempty"`
}

func newNodeOutput(n client.Node) nodeOutput {
	st := n.Stat
	out := nodeOutput{
		Path: n.Path, Version: st.Version, Created: st.Created, Modified: st.Modified, Children: st.Children,
		ChildrenModified: st.ChildrenModified, Session: st.Session, Size: st.Size, CtimeMs: st.CtimeMs, MtimeMs: st.MtimeMs, Revision: n.Revision,
	}
	switch {
	case n.Data == nil:
	case utf8.Valid(n.Data):
		text := string(n.Data)
		out.Data = &text
	default:
		out.Base64 = base64.StdEncoding.EncodeToString(n.Data)
	}
	return out
}

// showData prints a node's data as it is, or, where somebody may be looking, so that
// it cannot steer the terminal.
func (a *app) showData(s *settings, n client.Node) error {
	if s.json {
		return writeJSON(a.stdout, newNodeOutput(n))
	}
	data := n.Data
	if a.shared != nil || isTerminal(a.stdout) {
		data = []byte(printable(strings.ToValidUTF8(string(data), "\uFFFD")))
		if !bytes.HasSuffix(data, []byte("\n")) {
			data = append(data, '\n')
		}
	}
	if _, err := a.stdout.Write(data); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// showList prints nodes, one a line: their names, or with --recursive their paths.
func (a *app) showList(s *settings, path string, list []client.Node) error {
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	for _, n := range list {
		name := n.Path
		if !s.node.recursive {
			name = strings.TrimPrefix(name, path)
		}
		name = oneLine(name)
		if s.node.long {
			owner := "-"
			if n.Stat.Session != "" {
				owner = n.Stat.Session
			}
			name = fmt.Sprintf("%4d %7d %4d  %s  %-32s  %s", n.Stat.Version, n.Stat.Size, n.Stat.Children, wallTime(n.Stat.MtimeMs), owner, name)
		}
		if err := a.say(s, newNodeOutput(n), "%s", name); err != nil {
			return err
		}
	}
	return nil
}

func wallTime(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }

// showStat prints what is known of a node.
func (a *app) showStat(s *settings, n client.Node) error {
	st, owner := n.Stat, "none: the node is permanent"
	if st.Session != "" {
		owner = st.Session
	}
	return a.say(s, newNodeOutput(n), "path              %s\nversion           %d\ncreated           revision %d, %s\nmodified          revision %d, %s\n"+
		"size              %d\nchildren          %d\nchildren modified revision %d\nsession           %s\nread at           revision %d",
		oneLine(n.Path), st.Version, st.Created, wallTime(st.CtimeMs), st.Modified, wallTime(st.MtimeMs), st.Size, st.Children, st.ChildrenModified, owner, n.Revision)
}

// eventOutput is one change for programs.
type eventOutput struct {
	Event    string `json:"event"` // put, delete or resync
	Revision int64  `json:"revision"`
	nodeOutput
}

// showEvent prints what changed, one line a change.
func (a *app) showEvent(s *settings, path string, e client.NodeEvent) error {
	if e.Resync {
		return a.say(s, eventOutput{Event: "resync", Revision: e.Revision, nodeOutput: nodeOutput{Path: path}},
			"resync: changes of %s up to revision %d may be missing, read it again", printable(path), e.Revision)
	}
	for _, c := range e.Changes {
		out := eventOutput{Event: "delete", Revision: e.Revision, nodeOutput: nodeOutput{Path: c.Path}}
		line := "deleted " + oneLine(c.Path)
		if !c.Deleted {
			out.Event, out.nodeOutput = "put", newNodeOutput(c.Node)
			out.nodeOutput.Revision = 0
			verb := "changed"
			if c.Node.Stat.Created == e.Revision {
				verb = "created"
			}
			line = fmt.Sprintf("%s %s: %s", verb, oneLine(c.Path), shortData(c))
		}
		if err := a.say(s, out, "%s", line); err != nil {
			return err
		}
	}
	return nil
}

// shortData is the beginning of a node's data, in one line.
func shortData(c client.NodeChange) string {
	const most = 200
	switch {
	case c.Truncated:
		return fmt.Sprintf("(%d bytes)", c.Node.Stat.Size)
	case !utf8.Valid(c.Node.Data):
		return fmt.Sprintf("(%d bytes that are no text)", len(c.Node.Data))
	case len(c.Node.Data) > most:
		return oneLine(strings.ToValidUTF8(string(c.Node.Data[:most]), "")) + "..."
	}
	return oneLine(string(c.Node.Data))
}
