// Package node is the state of the tree: small pieces of data under paths like
// /config/db, permanent or bound to a session, and who watches which part of it.
//
// The tree stands in the Store. A write becomes a transaction (NodeManager.Plan,
// PlanExpire), the Store's changes become the index and the notices to the watchers
// (NodeManager.Apply), and reads are answered from the index. The providers of the
// registry show in the tree as nodes that only registering makes.
//
// What can be counted on:
//
//   - A child without its parent is never in the Store: who makes it compares that
//     the parent is there, who deletes the parent compares that no child is. The
//     parent's own key is left alone, so that many can make and delete children of
//     one parent at the same time.
//   - A multi is all or nothing, and its later operations see its earlier ones.
//   - Watchers see each revision whole and in order, or are told to read again.
//   - Of a node's NodeStat, Children and ChildrenModified are of the index. After a
//     restart ChildrenModified knows of the children that are there, not of those
//     that went; it grows as ever from then on.
package node
