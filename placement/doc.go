// Package placement decides which node owns which shard, and makes it so.
//
// Rendezvous hashing proposes (Order, Plan, Choose), one record per shard in
// the metadata store decides (Record, Table), and a fence in the state store
// enforces. A Manager does what one node has to do about it: it claims shards,
// seals them, hands them over and lets them go.
package placement
