// Package cajun is what users of the framework touch: a Node that takes part
// in a cluster, the Pid through which actors are called, and the Self that an
// actor sees of itself.
//
// Users rarely call it directly for more than Start: an actor is a protobuf
// service, and protoc-gen-cajun generates its interface, its Pid and the
// option that hosts it.
package cajun
