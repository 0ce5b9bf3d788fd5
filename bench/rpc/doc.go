// Package rpc is the table that compares remote calls: an echo of one text, by
// several sizes, calls in flight and connections.
//
// What each contestant carries: the floors frames of raw bytes; Trefoil and
// fasthttp JSON objects; arpc and net/rpc (JSON) JSON values; NATS raw bytes;
// gRPC, ttrpc and connect a protobuf message of one bytes field; net/rpc a gob
// struct; drpc raw bytes. JSON beside Trefoil is encoded with go-json too, where
// the contestant lets us choose. Contestants that cannot have several calls in
// flight on one connection open as many connections as calls are in flight; the
// results say so.
package rpc
