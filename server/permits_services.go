package server

import (
	"net/url"
	"strings"

	"trefoil/abstract"
	"trefoil/business/access"
)

// servicesPath is where the registry shows in the tree: a node for each method, and
// its providers below that.
const servicesPath = "/services"

// mayRead says whether the peer may read a node. One of the registry's tells what a
// discovery does, and so needs the permission for that, too.
func (c *conn) mayRead(path string) error {
	if err := c.may(access.NodeRead, path); err != nil {
		return err
	}
	if method, ok := methodAt(path); ok {
		return c.may(access.Discover, method)
	}
	return nil
}

// mayReadBelow is mayRead for what a watch of more than the node itself tells.
func (c *conn) mayReadBelow(path string, scope abstract.NodeScope) error {
	if err := c.ep.cfg.guard.CheckBelow(c.identity(), access.NodeRead, path); err != nil {
		return err
	}
	if path == servicesPath || path == "/" && scope == abstract.ScopeSubtree {
		return c.ep.cfg.guard.CheckAll(c.identity(), access.Discover)
	}
	if method, ok := methodAt(path); ok {
		return c.may(access.Discover, method)
	}
	return nil
}

// seesNode is mayRead without the words.
func (c *conn) seesNode(path string) bool {
	guard, who := c.ep.cfg.guard, c.identity()
	if !guard.Visible(who, access.NodeRead, path) {
		return false
	}
	method, ok := methodAt(path)
	return !ok || guard.Visible(who, access.Discover, method)
}

// methodAt returns the method that a node of the registry is about.
func methodAt(path string) (method string, ok bool) {
	rest, ok := strings.CutPrefix(path, servicesPath+"/")
	if !ok {
		return "", false
	}
	rest, _, _ = strings.Cut(rest, "/")
	if method, err := url.PathUnescape(rest); err == nil {
		return method, true
	}
	return rest, true
}
