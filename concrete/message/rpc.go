package message

import "trefoil/abstract"

// RpcRequest asks for a call.
type RpcRequest struct {
	Header
	Method     string
	Parameters Raw    // a JSON object
	TimeoutMs  int64  // "timeout_ms": what is left of the caller's deadline; 0 when it did not say
	Instance   string // "instance": the only provider that shall serve it, by its own id; left out when empty
	Relay      bool   // "relay":1: asks a broker to pass it on to a provider; left out otherwise
	OneWay     bool   // "oneway":1: nobody waits for an answer, and none is sent; left out otherwise

	Meta abstract.Metadata // "meta": words beside the parameters; left out when empty
}

// Type returns REQ_RPC.
func (*RpcRequest) Type() abstract.MType { return abstract.ReqRPC }

// RpcResponse answers a call.
type RpcResponse struct {
	Header
	Code    abstract.RCode
	Result  Raw    // written as null when empty
	Message string // "message": the error in words; left out when empty
	Details Raw    // "details": the error in facts; left out when empty
}

// Type returns RSP_RPC.
func (*RpcResponse) Type() abstract.MType { return abstract.RspRPC }
