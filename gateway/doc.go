// Package gateway serves the actors of a cluster to callers that are no nodes:
// curl, browsers, and whatever speaks Connect, gRPC or gRPC-Web, in any language
// and with no code of the user. Any node can have one, and each serves every
// kind of the cluster, wherever it is hosted.
//
//	node, err := cajun.Start(ctx, cajunetcd.With(etcd), gateway.With("127.0.0.1:8080"))
//
//	curl -d '{"cents": 100}' -H 'Content-Type: application/json' \
//	  http://127.0.0.1:8080/actors/alice/bank.v1.Account/Deposit
//
// # Paths and keys
//
// A method is at /<pkg.Service>/<Method>. The key of the actor is told in one of
// three ways, and those that are used have to agree: by a path of the form
// /actors/<key>/<pkg.Service>/<Method>, so that a generated client needs only
// another base URL; by the header Cajun-Key; or by the field of the request that
// is marked (cajun.v1.key). In paths and in the header the key is
// percent-encoded: any UTF-8 text of 1 to cajun.MaxKey bytes is a key.
//
// # Calls
//
// Looking for the owner, redirects, retries and deadlines are as with a Pid. The
// error's code, message and details reach the client, with a detail
// cajun.v1.CallStatus that tells the outcome; texts that are about the inside of
// the cluster do not: what ordinary Go errors say, or where nodes are.
//
// The header Idempotency-Key makes calls of EXACTLY_ONCE methods exactly once
// over all repeats by the client, for a day, and other methods refuse it. Of two
// calls of one method of one actor with the same key, the later one gets the
// answer of the earlier one, with the header Idempotency-Replayed: true.
//
// # Safety
//
// A gateway lets everybody who reaches it call every actor. It listens on
// loopback addresses only, unless it has TLS or WithInsecure consents, and is
// called there by no name but localhost (see WithHosts). Who may call what is for
// WithAuthorize and WithInterceptors to say. The service by which nodes talk to
// each other is never served.
package gateway
