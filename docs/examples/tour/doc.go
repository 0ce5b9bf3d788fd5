// Package tour is the whole API on one page: tour_test.go, whose examples run with every
// test and are what README.md shows.
package tour
