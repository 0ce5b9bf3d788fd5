package zookeeper

import (
	"net/url"
	"strings"

	"trefoil/abstract"
)

// unnamed is the service of methods whose names have no dot.
const unnamed = "_"

// split returns service and method of a method's name.
func split(name string) (service, method string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 && i < len(name)-1 {
		return name[:i], name[i+1:]
	}
	return unnamed, name
}

// escape makes one part of a path of any text. ZooKeeper takes no "." and ".." as
// parts, and '@' separates.
func escape(s string) string {
	s = strings.ReplaceAll(url.PathEscape(s), "@", "%40")
	if strings.Trim(s, ".") == "" {
		s = strings.ReplaceAll(s, ".", "%2E")
	}
	return s
}

// servicePath is where a method's service stands.
func (r *Registry) servicePath(name string) string {
	service, method := split(name)
	if service == unnamed && method != name { // it is one's name
		return r.cfg.Root + "/%5F"
	}
	return r.cfg.Root + "/" + escape(service)
}

// placePath is where one live provider of a method stands.
func (r *Registry) placePath(name string) string {
	_, method := split(name)
	return r.servicePath(name) + "/" + escape(method)
}

// providerPath is where a provider stands.
func (r *Registry) providerPath(p abstract.Provider) string {
	return r.placePath(p.Method) + "@" + escape(p.Host.String())
}

// placeOf is the place of a provider's path.
func placeOf(path string) string { return path[:strings.LastIndexByte(path, '@')] }
