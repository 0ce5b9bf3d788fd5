// Package opaque has messages whose fields are hidden.
package opaque
