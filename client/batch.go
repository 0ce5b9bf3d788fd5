package client

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// batch is providers that differ in nothing but the method, for one request.
type batch struct {
	common
	methods []string
}

type common struct {
	host     abstract.Host
	instance string
	ttl      time.Duration
	traits   abstract.Traits
}

func commonOf(p *abstract.Provider) common { return common{p.Host, p.Instance, p.TTL, p.Traits} }

// maxBatch is how many methods a request may be about.
const maxBatch = 128

// batches puts providers together, each once, in an order that depends on them alone.
func batches(providers []abstract.Provider) []batch {
	methods := make(map[common][]string)
	var order []common
	for i := range providers {
		p := &providers[i]
		c := commonOf(p)
		if methods[c] == nil {
			order = append(order, c)
		}
		methods[c] = append(methods[c], p.Method)
	}
	slices.SortStableFunc(order, func(a, b common) int {
		return cmp.Or(cmp.Compare(a.host.IP, b.host.IP), cmp.Compare(a.host.Port, b.host.Port), cmp.Compare(a.instance, b.instance))
	})
	var all []batch
	for _, c := range order {
		list := methods[c]
		slices.Sort(list)
		for part := range slices.Chunk(slices.Compact(list), maxBatch) {
			all = append(all, batch{c, part})
		}
	}
	return all
}

// batchOf is the batch of one provider, in one piece of memory.
func batchOf(p *abstract.Provider) *batch {
	b := &struct {
		batch
		method [1]string
	}{batch{common: commonOf(p)}, [1]string{p.Method}}
	b.methods = b.method[:]
	return &b.batch
}

// name is that of provider i.
func (b *batch) name(i int) name { return name{b.methods[i], b.host, b.instance} }

func (b *batch) provider(i int) abstract.Provider {
	return abstract.Provider{Method: b.methods[i], Host: b.host, Instance: b.instance, TTL: b.ttl, Traits: b.traits}
}

// one is the batch of its provider i alone.
func (b *batch) one(i int) *batch { return &batch{b.common, b.methods[i : i+1]} }

// doing says what an error is about.
func (b *batch) doing(op abstract.ServiceOp) string { return op.String() + " " + b.methods[0] }

// parts are the batches that go into one request each: the batch for a modern broker,
// each provider for an existing program of the LV family.
func (b *batch) parts(modern bool) iter.Seq[*batch] {
	return func(yield func(*batch) bool) {
		if modern {
			yield(b)
			return
		}
		for i := range b.methods {
			if !yield(b.one(i)) {
				return
			}
		}
	}
}

// request is what makes an operation on the batch.
func (b *batch) request(op abstract.ServiceOp) request {
	return request{want: abstract.RspService, harmless: true, build: func(id string) abstract.BaseMessage {
		m := &struct {
			message.ServiceRequest
			host abstract.Host
		}{message.ServiceRequest{Header: message.ID(id), Op: op, Method: b.methods[0], Methods: b.methods[1:], Instance: b.instance}, b.host}
		m.Host = &m.host
		if op == abstract.ServiceRegister {
			m.Traits, m.TTLMs = b.traits, milliseconds(b.ttl)
		}
		return &m.ServiceRequest
	}}
}

// milliseconds is a time for the wire, never cut down to none.
func milliseconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}
