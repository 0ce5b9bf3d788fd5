package client

import (
	"runtime/debug"

	"trefoil/abstract"
)

// sheltered runs interceptors on a goroutine of ours, where nobody else could recover: a
// panic of theirs is the error of the operation that they stand around, and is logged.
func (c *config) sheltered(what string, operation func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = c.panicked(what, v)
		}
	}()
	return operation()
}

// panicked is called while the stack is still that of the panic.
func (c *config) panicked(what string, v any) *abstract.Error {
	c.logger.Error("an interceptor panicked", "op", what, "err", v, "stack", string(debug.Stack()))
	return &abstract.Error{Code: abstract.Internal, Op: what, Message: "an interceptor panicked; the log has its stack"}
}
