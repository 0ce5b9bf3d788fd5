// Package old is of the second version of the language, with what the third left out.
package old
