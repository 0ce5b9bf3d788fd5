// Package registry is the state of service discovery: who provides which method,
// who has asked about it, and who is to be told when that changes.
//
// A request becomes a transaction of the Store (the Plan methods), the Store's
// changes become the index and its notices (PDManager.Apply). So the index of
// every broker on one Store goes through the same states, and nothing is
// answered that the Store does not hold.
package registry
