package server

import "trefoil/business/access"

// mayCall says whether the peer may call a method. Those for operators have a
// permission of their own: who may call everything is no operator yet.
func (c *conn) mayCall(method string) error {
	if _, ok := c.ep.commands[method]; ok {
		return c.may(access.Admin, method)
	}
	return c.may(access.Call, method)
}
