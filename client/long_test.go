package client_test

import "os"

// rounds is how often a test repeats what it does: more often where there is time.
func rounds(short, long int) int {
	if os.Getenv("TREFOIL_LONG") != "" {
		return long
	}
	return short
}
