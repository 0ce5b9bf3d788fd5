package message

import (
	"encoding/base64"
	"unicode/utf8"
)

func appendNodeRequest(dst []byte, m *NodeRequest) []byte {
	dst = appendAction(append(dst, '{'), &m.NodeAction)
	if len(m.Ops) > 0 {
		dst = append(dst, `,"ops":[`...)
		for i := range m.Ops {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendAction(append(dst, '{'), &m.Ops[i]), '}')
		}
		dst = append(dst, ']')
	}
	return append(appendSome(dst, `,"timeout_ms":`, m.TimeoutMs), '}')
}

// appendAction appends the members of an operation, without braces.
func appendAction(dst []byte, a *NodeAction) []byte {
	dst = appendString(append(dst, `"op":`...), string(a.Op))
	dst = appendText(dst, `,"path":`, a.Path)
	dst = appendData(dst, `,"data":`, a.Data)
	dst = appendFlag(dst, `,"session":true`, a.Session)
	dst = appendFlag(dst, `,"sequential":true`, a.Sequential)
	dst = appendFlag(dst, `,"parents":true`, a.Parents)
	dst = appendText(dst, `,"key":`, a.Key)
	dst = appendSome(dst, `,"version":`, a.Version)
	dst = appendSome(dst, `,"created":`, a.Created)
	dst = appendSome(dst, `,"modified":`, a.Modified)
	dst = appendFlag(dst, `,"recursive":true`, a.Recursive)
	dst = appendFlag(dst, `,"linearizable":true`, a.Linearizable)
	dst = appendFlag(dst, `,"stat":true`, a.Stat)
	dst = appendFlag(dst, `,"with_data":true`, a.WithData)
	dst = appendSome(dst, `,"limit":`, int64(a.Limit))
	dst = appendText(dst, `,"after":`, a.After)
	dst = appendText(dst, `,"scope":`, string(a.Scope))
	dst = appendSome(dst, `,"revision":`, a.Revision)
	return appendText(dst, `,"epoch":`, a.Epoch)
}

func appendNodeResponse(dst []byte, m *NodeResponse) []byte {
	dst = appendInt(dst, `{"rcode":`, int64(m.Code))
	dst = appendText(dst, `,"message":`, m.Message)
	if len(m.Details) > 0 {
		dst = append(append(dst, `,"details":`...), m.Details...)
	}
	dst = appendSome(dst, `,"revision":`, m.Revision)
	dst = appendText(dst, `,"epoch":`, m.Epoch)
	dst = appendText(dst, `,"path":`, m.Path)
	if m.Node != nil {
		dst = AppendNode(append(dst, `,"node":`...), m.Node)
	}
	dst = appendFlag(dst, `,"exists":true`, m.Exists)
	dst = appendNodes(dst, `,"nodes":[`, m.Nodes)
	dst = appendFlag(dst, `,"more":true`, m.More)
	dst = appendNodes(dst, `,"results":[`, m.Results)
	return append(appendFlag(dst, `,"resync":true`, m.Resync), '}')
}

// appendNodes appends an array; an empty one is there, nil is not.
func appendNodes(dst []byte, before string, nodes []Node) []byte {
	if nodes == nil {
		return dst
	}
	dst = append(dst, before...)
	for i := range nodes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendNode(dst, &nodes[i])
	}
	return append(dst, ']')
}

// AppendNode appends the JSON text of a node as it stands in responses: how long
// that is decides what fits a page.
func AppendNode(dst []byte, n *Node) []byte {
	start := len(dst)
	dst = appendText(dst, `,"path":`, n.Path)
	return appendNodeRest(dst, start, n)
}

// appendNodeRest appends what a node has besides its path, and the braces. All its
// members have been written from start on, each with a comma before it.
func appendNodeRest(dst []byte, start int, n *Node) []byte {
	dst = appendData(dst, `,"data":`, n.Data)
	if n.Stat != nil {
		dst = appendStat(append(dst, `,"stat":`...), n.Stat)
	}
	if len(dst) == start {
		return append(dst, "{}"...)
	}
	dst[start] = '{'
	return append(dst, '}')
}

func appendStat(dst []byte, s *NodeStat) []byte {
	dst = appendInt(dst, `{"version":`, s.Version)
	dst = appendInt(dst, `,"created":`, s.Created)
	dst = appendInt(dst, `,"modified":`, s.Modified)
	dst = appendInt(dst, `,"children":`, s.Children)
	dst = appendInt(dst, `,"children_modified":`, s.ChildrenModified)
	dst = appendText(dst, `,"session":`, s.Session)
	dst = appendInt(dst, `,"ctime_ms":`, s.CtimeMs)
	dst = appendInt(dst, `,"mtime_ms":`, s.MtimeMs)
	return append(appendInt(dst, `,"size":`, s.Size), '}')
}

func appendNodeEvent(dst []byte, m *NodeEvent) []byte {
	dst = appendString(append(dst, `{"path":`...), m.Path)
	dst = appendString(append(dst, `,"scope":`...), string(m.Scope))
	dst = appendInt(dst, `,"revision":`, m.Revision)
	if !m.Resync || len(m.Events) > 0 {
		dst = append(dst, `,"events":[`...)
		for i := range m.Events {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendChange(dst, &m.Events[i], !m.Truncated)
		}
		dst = append(dst, ']')
	}
	dst = appendFlag(dst, `,"truncated":true`, m.Truncated)
	return append(appendFlag(dst, `,"resync":true`, m.Resync), '}')
}

// appendChange appends an event, and its node's data when that is asked for.
func appendChange(dst []byte, c *NodeChange, withData bool) []byte {
	kind := `{"type":"put","path":`
	if c.Deleted {
		kind = `{"type":"delete","path":`
	}
	dst = appendString(append(dst, kind...), c.Path)
	if !c.Deleted {
		n := Node{}
		if c.Node != nil {
			n.Stat = c.Node.Stat
			if withData {
				n.Data = c.Node.Data
			}
		}
		dst = append(dst, `,"node":`...)
		dst = appendNodeRest(dst, len(dst), &n)
	}
	return append(dst, '}')
}

// appendData appends a node's data: a string where it is UTF-8, which most is and
// people can read, else base64. nil is left out.
func appendData(dst []byte, before string, data []byte) []byte {
	if data == nil {
		return dst
	}
	dst = append(dst, before...)
	if utf8.Valid(data) {
		return appendString(dst, alias(data))
	}
	dst = append(dst, `{"base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, `"}`...)
}

// appendFlag appends a member that is left out when it is false.
func appendFlag(dst []byte, member string, is bool) []byte {
	if !is {
		return dst
	}
	return append(dst, member...)
}

// appendSome appends a member that is left out when it is 0.
func appendSome(dst []byte, before string, v int64) []byte {
	if v == 0 {
		return dst
	}
	return appendInt(dst, before, v)
}
