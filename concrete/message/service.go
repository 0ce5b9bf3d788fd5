package message

import "trefoil/abstract"

// ServiceRequest registers, unregisters or discovers, and is the notice that a
// provider came or went.
type ServiceRequest struct {
	Header
	Op              abstract.ServiceOp
	Method          string
	Host            *abstract.Host // nil where the operation needs none; what a discovery carries is kept, and means nothing
	Instance        string         // "instance": the provider's own id; left out when empty
	Hello           bool           // "hello":1 in a notice: the provider speaks HELLO; left out otherwise
	abstract.Traits                // "weight", "zone", "version" of a registration and of a notice; each left out when 0 or empty
}

// Type returns REQ_SERVICE.
func (*ServiceRequest) Type() abstract.MType { return abstract.ReqService }

// ServiceResponse answers a service operation.
type ServiceResponse struct {
	Header
	Op      abstract.ServiceOp
	Code    abstract.RCode
	Method  string         // only in a successful discovery
	Hosts   []ProviderHost // "host"; only in a successful discovery
	Message string         // "message": the error in words; left out when empty
}

// Type returns RSP_SERVICE.
func (*ServiceResponse) Type() abstract.MType { return abstract.RspService }

// ProviderHost is one host of a discovery's answer.
type ProviderHost struct {
	abstract.Host
	Instance        string // left out when empty
	Hello           bool   // "hello":1; left out otherwise
	abstract.Traits        // as in ServiceRequest
}
