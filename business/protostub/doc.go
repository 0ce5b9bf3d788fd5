// Package protostub is what generated stubs stand on: the JSON text of protobuf
// messages, and the methods of services that are defined in .proto files, with all ways
// to call and to serve them. Programs use what protoc-gen-trefoil has generated for
// them; this package's names appear in it.
//
// The text is that of the protobuf JSON mapping. Names are written in lowerCamelCase, and
// those of the .proto file are taken as well; fields that have no presence are written
// also when they are zero, so that peers without the .proto file see all of them; members
// that are not known are passed over, and of a name that stands there twice the last one
// counts. 64-bit integers are written as strings, as the mapping wants it, or as numbers
// where the generator was told so, and taken either way.
package protostub
