package client

import (
	"cmp"
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

// maxBatch is how many methods a request may be about.
const maxBatch = 128

// batches puts providers together, each once, in an order that depends on them alone.
func batches(providers []abstract.Provider) []batch {
	methods := make(map[common][]string)
	var order []common
	for _, p := range providers {
		c := common{p.Host, p.Instance, p.TTL, p.Traits}
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

// providers are those of the batch.
func (b batch) providers() []abstract.Provider {
	list := make([]abstract.Provider, len(b.methods))
	for i, m := range b.methods {
		list[i] = abstract.Provider{Method: m, Host: b.host, Instance: b.instance, TTL: b.ttl, Traits: b.traits}
	}
	return list
}

// one is the batch of its provider i alone.
func (b batch) one(i int) batch { return batch{b.common, b.methods[i : i+1]} }

// requests are those that make an operation on the batch: one for a modern broker, one
// for each method for an existing program of the LV family.
func (b batch) requests(op abstract.ServiceOp, modern bool) []request {
	if !modern && len(b.methods) > 1 {
		all := make([]request, len(b.methods))
		for i := range b.methods {
			all[i] = b.one(i).requests(op, modern)[0]
		}
		return all
	}
	return []request{{want: abstract.RspService, harmless: true, build: func(id string) abstract.BaseMessage {
		host := b.host
		m := &message.ServiceRequest{Header: message.ID(id), Op: op, Method: b.methods[0], Methods: b.methods[1:], Host: &host, Instance: b.instance}
		if op == abstract.ServiceRegister {
			m.Traits, m.TTLMs = b.traits, milliseconds(b.ttl)
		}
		return m
	}}}
}

// milliseconds is a time for the wire, never cut down to none.
func milliseconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}
