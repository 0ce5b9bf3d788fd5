// Package user has the service of the example, and what was generated for it.
package user
