// Package everything has all that a message may hold, and all kinds of methods.
package everything
