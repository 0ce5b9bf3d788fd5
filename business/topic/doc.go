// Package topic is the state of publish and subscribe: which topics exist, and
// who is subscribed to which.
//
// Topics are defined in the Store: creating and removing becomes a transaction
// (the Plan methods), the Store's changes become the index (TopicManager.Apply).
// Subscriptions belong to connections of this broker and stand in the index only.
package topic
