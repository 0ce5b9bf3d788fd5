package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/business/access"
	"trefoil/client"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// tokenEnv holds a client's token, where no file is named.
const tokenEnv = "TREFOIL_TOKEN"

// maxSecurityFile is the longest file of a token, of tokens or of permissions.
const maxSecurityFile = 16 << 20

// secureClient are the options that protect a connection and say who we are.
func (s *settings) secureClient(log *slog.Logger) ([]client.Option, error) {
	opts, err := s.tlsClient(log)
	if err != nil {
		return nil, err
	}
	token := os.Getenv(tokenEnv)
	if s.tokenFile != "" {
		text, err := readSmall(s.tokenFile)
		if err != nil {
			return nil, err
		}
		token = string(text)
	}
	if token = strings.TrimSpace(token); token != "" {
		opts = append(opts, client.WithToken(token))
	}
	return opts, nil
}

// tlsClient are the options that protect a connection.
func (s *settings) tlsClient(log *slog.Logger) ([]client.Option, error) {
	if !s.tls && s.tlsCA == "" && s.tlsCert == "" {
		return nil, nil
	}
	t, err := newTLS(stdnet.TLSConfig{CertFile: s.tlsCert, KeyFile: s.tlsKey, RootCAFile: s.tlsCA, Logger: log})
	if err != nil {
		return nil, err
	}
	return []client.Option{client.WithTLS(t)}, nil
}

// newTLS makes what protects connections. A file that cannot be read is that, as any other
// file is, and nothing that a peer could have refused.
func newTLS(cfg stdnet.TLSConfig) (*stdnet.TLS, error) {
	t, err := stdnet.NewTLS(cfg)
	var path *fs.PathError
	if errors.As(err, &path) {
		return nil, fmt.Errorf("load tls files: %w", path)
	}
	return t, err
}

// readSmall reads a file that cannot be large.
func readSmall(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSecurityFile {
		return nil, fmt.Errorf("%s has more than %d bytes, which is more than such a file needs", name, maxSecurityFile)
	}
	return os.ReadFile(name)
}

// guarded is what a broker goes by: the files are read again at every SIGHUP.
type guarded struct {
	policyFile, tokensFile string
	tls                    *stdnet.TLS
	tlsFiles               stdnet.TLSConfig
	guard                  *access.Guard
	seen                   string // what was in the files
}

// permits is what files of permissions and of tokens come to.
type permits struct {
	policy *access.Policy
	tokens *access.Tokens
	seen   string // what was in the files
}

// secure reads what protects a broker. nil options: nothing does.
func (s *settings) secure(log *slog.Logger) (*guarded, []server.Option, error) {
	b := &s.own
	g := &guarded{policyFile: b.policy, tokensFile: b.tokens}
	var opts []server.Option
	if b.tlsCert != "" || b.tlsKey != "" || b.tlsClientCA != "" {
		g.tlsFiles = stdnet.TLSConfig{
			CertFile: b.tlsCert, KeyFile: b.tlsKey, ClientCAFile: b.tlsClientCA, RequireClientCert: b.tlsRequire, Logger: log,
		}
		var err error
		if g.tls, err = newTLS(g.tlsFiles); err != nil {
			return nil, nil, err
		}
		opts = append(opts, server.WithTLS(g.tls))
	}
	if g.guards() {
		p, err := g.read()
		if err != nil {
			return nil, nil, err
		}
		g.guard, g.seen = access.NewGuard(p.policy, p.tokens), p.seen
		opts = append(opts, server.WithGuard(g.guard))
	}
	return g, opts, nil
}

// guards says whether there are permissions, or tokens.
func (g *guarded) guards() bool { return g.policyFile != "" || g.tokensFile != "" }

// read reads the files of permissions and of tokens.
func (g *guarded) read() (p permits, err error) {
	var texts [2][]byte
	for i, name := range []string{g.policyFile, g.tokensFile} {
		if name == "" {
			continue
		}
		if texts[i], err = readSmall(name); err != nil {
			return permits{}, err
		}
	}
	if g.policyFile != "" {
		if p.policy, err = access.ParsePolicy(texts[0]); err != nil {
			return permits{}, fmt.Errorf("%s: %w", g.policyFile, err)
		}
	}
	if g.tokensFile != "" {
		if p.tokens, err = access.ParseTokens(texts[1]); err != nil {
			return permits{}, fmt.Errorf("%s: %w", g.tokensFile, err)
		}
	}
	p.seen = string(texts[0]) + "\x00" + string(texts[1])
	return p, nil
}

// check reads all files again, and returns what is wrong with them.
func (g *guarded) check() (permits, error) {
	if g.tls != nil {
		if _, err := newTLS(g.tlsFiles); err != nil {
			return permits{}, err
		}
	}
	return g.read()
}

// take goes by what is in the files now. When permissions or tokens have changed, everybody
// connects again and is judged anew.
func (g *guarded) take(p permits, srv *server.Broker, log *slog.Logger) {
	if g.tls != nil {
		if err := g.tls.Reload(); err != nil { // they were all right a moment ago
			log.Error("certificates not reloaded, the old ones stay in use", "err", err)
		}
	}
	if g.guard == nil || p.seen == g.seen {
		return
	}
	g.seen = p.seen
	gone := g.guard.Reload(p.policy, p.tokens)
	log.Info("permissions reloaded", "gone", strings.Join(gone, ","))
	srv.Reauthorize()
}

func (a *app) tokenCommand() *cobra.Command {
	token := &cobra.Command{
		Use: "token", Short: "Make a token for a client", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usagef("say what to do: new IDENTITY") },
	}
	token.AddCommand(a.command(cobra.Command{
		Use: "new IDENTITY [flags]", Args: cobra.ExactArgs(1),
		Short: "Print a new token, and add its hash to the broker's file of tokens",
		Long: "Make a token for IDENTITY and print it: this once, it cannot be had again. Its hash is added to\n" +
			"the file that --file names, which is made when it is not there; the broker reads that with\n" +
			"--tokens, and again at SIGHUP.",
		Annotations: map[string]string{inTable: "token-new"},
	}, a.tokenNew))
	return token
}

// tokenOutput is a new token for programs.
type tokenOutput struct {
	Identity string    `json:"identity"`
	Token    string    `json:"token"`
	Expires  time.Time `json:"expires,omitzero"`
}

func (a *app) tokenNew(_ context.Context, s *settings, args []string) error {
	if s.tokens == "" {
		return usagef("--file is missing: name the broker's file of tokens")
	}
	var expires time.Time
	if s.expires > 0 {
		expires = time.Now().Add(s.expires).Truncate(time.Second)
	}
	token, entry, err := access.NewToken(args[0], s.note, expires)
	if err != nil {
		return err
	}
	if err := addEntry(s.tokens, entry); err != nil {
		return err
	}
	return a.say(s, tokenOutput{args[0], token.Reveal(), expires}, "%s", token.Reveal())
}

// addEntry adds a token to a file, which is whole at every moment and keeps its mode.
func addEntry(name string, entry access.Entry) error {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	var entries []access.Entry
	mode := os.FileMode(0o600)
	text, err := readSmall(name)
	switch {
	case err == nil:
		tokens, err := access.ParseTokens(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		entries = tokens.Entries()
		if info, err := os.Stat(name); err == nil {
			mode = info.Mode().Perm()
		}
	case !os.IsNotExist(err):
		return err
	}
	text, err = access.MarshalTokens(append(entries, entry))
	if err != nil {
		return err
	}
	next := name + ".new" // which also keeps two commands from losing one's token
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("%w; another command may be changing the file: try again, or remove %s", err, next)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = keepOwner(name, next)
	}
	if err == nil {
		err = os.Rename(next, name)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}
