// Package echo is the service of the contestant with a generated stub.
package echo
