package message

import "trefoil/abstract"

// ServiceRequest registers, unregisters or discovers, and is the notice that a
// provider came or went.
type ServiceRequest struct {
	Header
	Op              abstract.ServiceOp
	Method          string
	Methods         []string       // "methods": further methods that a modern peer's register, unregister, heartbeat or report is about, all or none; left out when empty
	Host            *abstract.Host // nil where the operation needs none; what a discovery carries is kept, and means nothing. A modern peer's empty IP in a registration is the address it comes from
	Instance        string         // "instance": the provider's own id; left out when empty
	Hello           bool           // "hello":1 in a notice: the provider speaks HELLO; left out otherwise
	TTLMs           int64          // "ttl_ms" of a registration; 0: as long as the connection
	Revision        uint64         // "revision" of a notice; of a discovery: what the asker knows already, 0 for nothing. See ServiceResponse
	Reason          string         // "reason" of a notice offline and of a report, in words; left out when empty
	abstract.Traits                // "weight", "zone", "version", "tags", "metadata", "state", "relay" of a registration and of a notice; each left out when 0 or empty
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

	// Revision counts, for one method and one connection, what its discoverer was
	// told: a notice has the next number after the answer or the notice before it.
	// Whoever sees another one has missed something, and asks again. 0: not counted.
	Revision   uint64         // "revision"; only in a discovery's answer, also in one that nobody provides it
	Unchanged  bool           // "unchanged":1: the asker knows the list; Hosts is empty
	Registered *abstract.Host // "registered": where the provider was registered, when its request left that to the registry
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
