package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"trefoil/abstract"
)

// registryEnv holds the registry's URL, where no flag does.
const registryEnv = "TREFOIL_REGISTRY"

// registryURL is what --registry says.
type registryURL struct {
	scheme             string // trefoil, zookeeper or etcd
	secure             bool   // over TLS
	servers            []string
	username, password string
	path               string // what stands below what; empty, or it begins with a slash
	timeout            time.Duration
	ca, cert, key      string // files
}

// defaultPorts are those of servers that are given without one.
var defaultPorts = map[string]string{"trefoil": "7700", "zookeeper": "2181", "etcd": "2379"}

// parseRegistry reads a registry's URL: several servers are separated by commas, which no
// other URL has. What it complains of does not repeat a password.
func parseRegistry(text string) (u registryURL, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return u, usagef("--registry is no URL; give it as zookeeper://HOST:PORT,HOST:PORT/ROOT, etcd://HOST:PORT,HOST:PORT or trefoil://HOST:PORT")
	}
	u.scheme, u.secure = strings.CutSuffix(scheme, "+tls")
	if defaultPorts[u.scheme] == "" || u.secure && u.scheme == "trefoil" {
		return u, usagef("--registry: %q is no registry that is known here; give it as zookeeper://HOST:PORT,HOST:PORT/ROOT, etcd://HOST:PORT,HOST:PORT (both also with +tls, as in etcd+tls://) or trefoil://HOST:PORT", scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest, u.path = rest[:i], strings.TrimRight(rest[i:], "/")
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		name, password, _ := strings.Cut(rest[:i], ":")
		if u.username, err = url.PathUnescape(name); err == nil {
			u.password, err = url.PathUnescape(password)
		}
		if err != nil || u.username == "" || u.password == "" {
			return u, usagef("--registry: before the @ stand a username and a password as NAME:PASSWORD, with the characters / ? @ : and %% as %%2F %%3F %%40 %%3A and %%25")
		}
		rest = rest[i+1:]
	}
	for server := range strings.SplitSeq(rest, ",") {
		if server, err = u.server(server); err != nil {
			return u, err
		}
		u.servers = append(u.servers, server)
	}
	err = u.options(query)
	return u, err
}

// server reads one address.
func (u *registryURL) server(text string) (string, error) {
	if !strings.Contains(text, ":") {
		text += ":" + defaultPorts[u.scheme]
	}
	host, err := abstract.ParseHost(text)
	if err != nil || host.IP == "" {
		return "", usagef("--registry: %q is no address; give it as host:port", text)
	}
	return host.String(), nil
}

// options reads what stands after the question mark, and checks what belongs together.
func (u *registryURL) options(text string) error {
	query, err := url.ParseQuery(text)
	if err != nil {
		return usagef("--registry: what stands after the ? is not NAME=VALUE&NAME=VALUE")
	}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "timeout":
			if u.timeout, err = time.ParseDuration(value); err != nil || u.timeout <= 0 {
				return usagef("--registry: the timeout %q is no time such as 10s", value)
			}
		case "ca":
			u.ca = value
		case "cert":
			u.cert = value
		case "key":
			u.key = value
		default:
			return usagef("--registry: %q is not known; after the ? may stand timeout, ca, cert and key", name)
		}
	}
	switch {
	case u.scheme == "trefoil" && (len(u.servers) > 1 || u.path != "" || u.username != "" || len(query) > 0):
		return usagef("--registry: for a broker give trefoil://HOST:PORT and nothing else; --tls and --token-file are about its connection")
	case !u.secure && (u.ca != "" || u.cert != "" || u.key != ""):
		return usagef("--registry: ca, cert and key are for TLS; begin with %s+tls://", u.scheme)
	case (u.cert == "") != (u.key == ""):
		return usagef("--registry: cert and key belong together; give both or none")
	}
	return nil
}

// String is the URL as it may be shown: without the password.
func (u *registryURL) String() string {
	scheme := u.scheme
	if u.secure {
		scheme += "+tls"
	}
	return scheme + "://" + strings.Join(u.servers, ",") + u.path
}

// endpoints are the servers as etcd's client wants them.
func (u *registryURL) endpoints() []string {
	scheme := "http://"
	if u.secure {
		scheme = "https://"
	}
	all := slices.Clone(u.servers)
	for i := range all {
		all[i] = scheme + all[i]
	}
	return all
}

// tlsConfig reads the files; nil: no TLS.
func (u *registryURL) tlsConfig() (*tls.Config, error) {
	if !u.secure {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if u.ca != "" {
		text, err := os.ReadFile(u.ca)
		if err != nil {
			return nil, fmt.Errorf("read the certificates of who signs the registry's: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM form", u.ca)
		}
	}
	if u.cert != "" {
		pair, err := tls.LoadX509KeyPair(u.cert, u.key)
		if err != nil {
			return nil, fmt.Errorf("read our certificate for the registry: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
