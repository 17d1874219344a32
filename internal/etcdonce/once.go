// Package etcdonce makes an etcd client send each transaction once.
package etcdonce

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// KV returns the key-value part of client, kept from sending a transaction
// again that may have been applied. A conditional write that is sent twice
// would be refused by its own first attempt, and be reported as refused
// although it was applied.
//
// By itself the client (v3.7) sends a transaction again, up to 100 times:
//
//   - after answers that say that the attempt did not reach the key-value
//     store: the member is a learner, the auth token is stale, there was no
//     connection to send on. gRPC below it sends again what the server says
//     that it never began. All of these are safe.
//   - after Canceled and DeadlineExceeded, if the caller's context has not
//     ended. That is not safe: a server at which the deadline passes first (as
//     while the client's machine sleeps), a server that stops and a proxy
//     between them give such answers to transactions that are on their way.
//
// So each call gets a context that ends with such an answer, and the client
// does not go on with a context that has ended. Other errors (lost
// connections, timeouts and lost leaders) are never followed by another
// attempt.
func KV(client *clientv3.Client) clientv3.KV {
	return clientv3.NewKVFromKVClient(kv{clientv3.RetryKVClient(client)}, client)
}

type kv struct{ pb.KVClient }

// Txn implements pb.KVClient.
func (k kv) Txn(ctx context.Context, in *pb.TxnRequest, opts ...grpc.CallOption) (*pb.TxnResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Called at the end of every attempt, before the client looks at its error.
	end := grpc.OnFinish(func(err error) {
		if c := status.Code(err); c == codes.Canceled || c == codes.DeadlineExceeded {
			cancel()
		}
	})
	return k.KVClient.Txn(ctx, in, append(opts[:len(opts):len(opts)], end)...)
}
