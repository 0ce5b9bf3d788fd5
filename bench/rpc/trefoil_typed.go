package rpc

import (
	"context"

	"trefoil"
	"trefoil/bench/internal/harness"
)

// echoMethod is the echo as a typed method.
var echoMethod = trefoil.NewMethod[EchoArgs, string](method)

// typedContestant calls the same server by a typed method.
func typedContestant() contestant {
	return contestant{name: "trefoil-typed", kind: harness.Ours, serve: serveTrefoil, dial: dialTrefoilTyped}
}

type trefoilTyped struct{ trefoilClient }

func dialTrefoilTyped(ctx context.Context, addr string) (caller, error) {
	c, err := dialDirect(ctx, addr)
	return trefoilTyped{c}, err
}

// Call uses Method.Call.
func (c trefoilTyped) Call(ctx context.Context, p payload) error {
	echo, err := echoMethod.Call(ctx, c.rpc, EchoArgs{p.text})
	if err != nil {
		return err
	}
	return p.check(echo)
}
