// Package keywords has names that are words of Go.
package keywords
