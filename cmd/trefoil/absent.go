package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/client"
)

// callError says what to do about a call that has failed: the method is not there, and
// another one was meant, or it is called in another way.
func (a *app) callError(ctx context.Context, s *settings, calls *client.RpcClient, method string, err error) error {
	var e *abstract.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Code == abstract.InvalidOp && e.FromPeer:
		return otherWay(ctx, s, calls, method, err)
	case e.Code != abstract.ServiceNotFound || s.otherAt != "":
	case s.direct != "" && e.FromPeer:
		return notServed(ctx, calls, method, err)
	case s.direct == "" && !e.FromPeer:
		if conn, problem := a.dial(ctx, s); problem == nil {
			defer conn.Close()
			return unknownMethod(ctx, conn, s, method)
		}
	}
	return methodError(method, err)
}

// otherWay says how a method is called that was called as what it is not.
func otherWay(ctx context.Context, s *settings, calls *client.RpcClient, method string, err error) error {
	info, problem := calls.Describe(ctx, method)
	switch {
	case problem != nil:
	case s.stream && info.Kind == abstract.Unary.String():
		return &plainError{fmt.Sprintf("%s is no stream; call it without --stream", method), err}
	case !s.stream && info.Kind != abstract.Unary.String():
		return &plainError{fmt.Sprintf("%s is a %s; call it with --stream", method, oneLine(info.Kind)), err}
	}
	return err
}

// notServed is the error of a server that does not serve a method, with the names that it
// serves and that are nearly the same.
func notServed(ctx context.Context, calls *client.RpcClient, method string, err error) error {
	var said *abstract.Error
	_, problem := calls.Describe(ctx, method)
	if errors.As(problem, &said) && said.FromPeer && said.Code == abstract.ServiceNotFound && !saysNothing(problem) {
		return &plainError{oneLine(said.Message), err}
	}
	return err
}

// unknownMethod is the error about a method that nobody provides.
func unknownMethod(ctx context.Context, conn *client.Conn, s *settings, method string) error {
	own := ownMethods(ctx, conn, "")
	if slices.Contains(own, method) {
		text := fmt.Sprintf("nobody provides %s, but the broker at %s serves it itself; add --direct %[2]s", method, s.brokerAddr())
		return &plainError{text, &abstract.Error{Code: abstract.ServiceNotFound, Message: text}}
	}
	names := slices.Clone(own)
	methods, _ := provided(ctx, client.NewNodeClient(conn), "") // or there is no tree to look into
	for _, m := range methods {
		names = append(names, m.Method)
	}
	slices.Sort(names)
	text := nobodyProvides(method)
	if near := router.Nearest(method, slices.Compact(names)); len(near) > 0 {
		for i, name := range near {
			if slices.Contains(own, name) && !slices.ContainsFunc(methods, func(m methodSummary) bool { return m.Method == name }) {
				near[i] += " with --direct " + s.brokerAddr()
			}
		}
		text = fmt.Sprintf("nobody provides %s now%s", method, router.DidYouMean(near))
	}
	return &plainError{text, &abstract.Error{Code: abstract.ServiceNotFound, Message: text}}
}

// maxOwnMethods bounds how many methods a broker is asked for.
const maxOwnMethods = 10_000

// ownMethods are those that a broker serves itself, but for those that every server has;
// none when it says nothing of them.
func ownMethods(ctx context.Context, conn *client.Conn, prefix string) []string {
	calls := client.NewDirectRpcClient(conn)
	defer calls.Close()
	var names []string
	for m, err := range calls.Methods(ctx, abstract.MethodQuery{Prefix: prefix}) {
		if err != nil || len(names) >= maxOwnMethods {
			break
		}
		if !abstract.IsReserved(m.Method) {
			names = append(names, m.Method)
		}
	}
	return names
}

// ofTheBroker says of methods that a broker serves itself how to see more; empty when there
// are none.
func ofTheBroker(s *settings, own []string) string {
	if len(own) == 0 {
		return ""
	}
	few := strings.Join(own[:min(3, len(own))], ", ")
	if len(own) > 3 {
		few += fmt.Sprintf(" and %d more", len(own)-3)
	}
	return fmt.Sprintf("the broker at %s serves %s itself; see 'trefoil describe %s --direct %[1]s'", s.brokerAddr(), oneLine(few), shellWord(own[0]))
}

// brokersOnly is for commands that ask a broker and no other registry: where the
// environment names another one, they say whom they ask.
func (a *app) brokersOnly(s *settings) error {
	text := os.Getenv(registryEnv)
	if text == "" || s.broker != "" {
		return nil
	}
	u, err := parseRegistry(text)
	switch {
	case err != nil:
		return fmt.Errorf("$%s: %w", registryEnv, err)
	case u.scheme == "trefoil":
		s.broker = u.servers[0]
		return nil
	}
	_, err = fmt.Fprintf(a.stderr, "asking the broker at %s: this is about brokers, and not about $%s, which is %s\n", s.brokerAddr(), registryEnv, u.String())
	return err
}
