// Package numbers is generated with the options of protoc-gen-trefoil.
package numbers
