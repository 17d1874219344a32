package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// PrincipalHeader is the header by which an actor learns on whose behalf it is
// called (cajun.Call.Header), as the function of WithAuthorize has named it.
// Nobody outside can set it; nodes of the cluster are trusted not to.
const PrincipalHeader = "cajun-principal"

// maxIdempotencyKey bounds the header Idempotency-Key, in bytes.
const maxIdempotencyKey = 256

// Request is a call as the function of WithAuthorize gets to see it.
type Request struct {
	// Kind is the full name of the service as it is declared, also when an alias
	// was called, so that no name gets around what is said of another. Method is
	// the name of the method.
	Kind, Method string
	// Key is the actor's key. It is empty for the gateway's own services,
	// reflection and health, whose names begin with "grpc.".
	Key string
	// Header are the headers of the request. They must not be changed.
	Header http.Header
	// PeerAddr is the address that the request came from, which may be that of a
	// proxy.
	PeerAddr string
	// TLS describes the connection; nil without TLS.
	TLS *tls.ConnectionState
}

// PeerCertificate is the verified certificate of the client, or nil. Certificates
// are verified if the config of WithTLS says so (tls.RequireAndVerifyClientCert,
// or tls.VerifyClientCertIfGiven).
func (r Request) PeerCertificate() *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// inbound is what the HTTP request of a call says besides its message.
type inbound struct {
	address
	request *http.Request
	// passed says that the interceptors let the call through, and told is the error
	// that they were told then.
	passed atomic.Bool
	told   atomic.Pointer[error]
}

// unanswered is the outcome of a call as far as it can be known without its answer.
func (in *inbound) unanswered() cajunv1.Outcome {
	if in.passed.Load() {
		return cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED
	}
	return cajunv1.Outcome_OUTCOME_NOT_EXECUTED
}

type inboundKey struct{}

func inboundFrom(ctx context.Context) (*inbound, error) {
	in, ok := ctx.Value(inboundKey{}).(*inbound)
	if !ok {
		return nil, refuse(connect.CodeInternal, "an interceptor has replaced the context of the request: derive contexts from the one that was passed")
	}
	return in, nil
}

// serve serves one call of an actor: every call comes through here, whatever
// protocol brought it.
func (h *handler) serve(ctx context.Context, k *cajun.DynamicKind, m *cajun.DynamicMethod, stream connect.ServerStream) error {
	in, err := inboundFrom(ctx)
	if err != nil {
		return err
	}
	if m.Descriptor().IsStreamingClient() {
		return refuse(connect.CodeUnimplemented, "%s takes a stream of requests, which no actor does", in.procedure())
	}
	info, _ := connect.CallInfoForServerContext(ctx)
	// Interceptors may look at the messages, which then have to be what they are.
	binary := info != nil && info.Codec == connect.CodecNameProto && len(h.config.interceptors) == 0
	req := m.NewRequest(binary)
	key, principal, err := h.admit(ctx, in, k, m, req, stream)
	if err != nil {
		return err
	}
	if ctx, err = h.idempotent(ctx, in, m, principal); err != nil {
		return err
	}
	ctx = h.headers(ctx, in, principal)
	if m.Streams() {
		err = h.follow(ctx, m, key, req, stream)
	} else {
		err = h.answer(ctx, m, key, req, stream, info)
	}
	if err != nil {
		h.logger.Debug("a call failed", "kind", k.Name(), "method", in.method, "error", err)
	}
	return err
}

// admit reads the request and finds out whose actor is called and who calls it.
func (h *handler) admit(ctx context.Context, in *inbound, k *cajun.DynamicKind, m *cajun.DynamicMethod, req proto.Message, stream connect.ServerStream) (key, principal string, err error) {
	key, kind := in.key, string(k.Descriptor().FullName())
	if in.keyed {
		if principal, err = h.authorize(ctx, in, kind, key); err != nil {
			return "", "", err
		}
	}
	if err := stream.Receive(req); err != nil {
		return "", "", unread(err)
	}
	field, held := m.Key(req)
	switch {
	case held && in.keyed && field != key:
		return "", "", refuse(connect.CodeInvalidArgument, "the field %s of the request names the key %q, and the path or the header %s names %q: leave one out or make them equal",
			m.KeyField().Name(), field, KeyHeader, key)
	case held:
		key = field
	case !in.keyed:
		return "", "", noKey(m)
	}
	if !in.keyed {
		principal, err = h.authorize(ctx, in, kind, key)
	}
	return key, principal, err
}

// answer makes a call that has one reply.
func (h *handler) answer(ctx context.Context, m *cajun.DynamicMethod, key string, req proto.Message, stream connect.ServerStream, info *connect.CallInfo) error {
	reply, err := m.Call(ctx, h.node, key, req)
	if reply.Replayed && info != nil {
		info.ResponseHeader().Set(cajun.ReplayedHeader, "true")
	}
	if err != nil {
		return outward(err)
	}
	return stream.Send(reply.Message)
}

// follow makes a call that has a stream of events. It ends with the gateway, as
// nobody could wait for the end of one that has none.
func (h *handler) follow(ctx context.Context, m *cajun.DynamicMethod, key string, req proto.Message, stream connect.ServerStream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(h.closing, func() { cancel(errClosing) })()
	events, err := m.Open(ctx, h.node, key, req)
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errClosing):
		return h.ended(ctx, err)
	default:
		return outward(err)
	}
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	for event, err := range events {
		if err != nil {
			return h.ended(ctx, err)
		}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	return nil
}

// errClosing ends the streams of a gateway that is closed.
var errClosing = errors.New("gateway: the gateway is closing")

// ended is the error of a stream that has ended early. Unless it is the actor's own,
// it is one after which the stream can be opened again.
func (h *handler) ended(ctx context.Context, err error) error {
	text := ""
	switch {
	case errors.Is(context.Cause(ctx), errClosing):
		text = "the gateway is closing: open the stream again, through another one"
	case connect.CodeOf(err) == connect.CodeUnavailable && cajun.OutcomeOf(err) != guarantee.Answered:
		text = "the stream has ended, as the actor has left its node: open it again"
	default:
		return outward(err)
	}
	return withOutcome(connect.NewError(connect.CodeUnavailable, text), cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED).WithCause(err)
}

// noKey tells how to name an actor.
func noKey(m *cajun.DynamicMethod) error {
	if f := m.KeyField(); f != nil {
		return refuse(connect.CodeInvalidArgument, "the call names no actor: fill the field %s, or put the key into the path /actors/<key>/… or the header %s", f.Name(), KeyHeader)
	}
	return refuse(connect.CodeInvalidArgument, "the call names no actor: put its key into the path /actors/<key>/… or the header %s", KeyHeader)
}

// unread is the error of a request that could not be read. Where Connect does not
// say whose fault that is, such as with base64 that is none in a query, it is the
// client's: nothing of the gateway or the cluster has been asked yet.
func unread(err error) error {
	e, ok := err.(*connect.Error)
	if !ok {
		return err
	}
	if status, _ := statusOf(e); status.GetOutcome() != cajunv1.Outcome_OUTCOME_UNSPECIFIED {
		return e // it comes from the transfer, which has said so
	}
	if e.Code() == connect.CodeUnknown {
		e = connect.NewError(connect.CodeInvalidArgument, e.Message()).WithCause(err)
	}
	return notExecuted(e)
}

// authorize asks the user's hook, if there is one.
func (h *handler) authorize(ctx context.Context, in *inbound, kind, key string) (string, error) {
	if h.config.authorize == nil {
		return "", nil
	}
	principal, err := h.config.authorize(ctx, Request{
		Kind: kind, Method: in.method, Key: key,
		Header: in.request.Header, PeerAddr: in.request.RemoteAddr, TLS: in.request.TLS,
	})
	switch {
	case err != nil:
		return "", denied(err)
	case !utf8.ValidString(principal):
		return "", refuse(connect.CodeInternal, "the principal of the call is not UTF-8")
	}
	return principal, nil
}

// idempotent gives the call the key that its client has named it by.
func (h *handler) idempotent(ctx context.Context, in *inbound, m *cajun.DynamicMethod, principal string) (context.Context, error) {
	values := in.request.Header.Values(cajun.IdempotencyKeyHeader)
	switch {
	case len(values) == 0:
		return ctx, nil
	case len(values) > 1:
		return nil, refuse(connect.CodeInvalidArgument, "the header %s is there %d times: a call has one", cajun.IdempotencyKeyHeader, len(values))
	case values[0] == "" || len(values[0]) > maxIdempotencyKey:
		return nil, refuse(connect.CodeInvalidArgument, "the header %s has %d bytes: 1 to %d are taken", cajun.IdempotencyKeyHeader, len(values[0]), maxIdempotencyKey)
	case m.Level(h.node) != guarantee.ExactlyOnce:
		return nil, refuse(connect.CodeInvalidArgument, "%s is not EXACTLY_ONCE, so the header %s cannot protect it: leave the header out, or declare the delivery in the proto file", in.procedure(), cajun.IdempotencyKeyHeader)
	}
	return cajun.Idempotent(ctx, callKey(principal, values[0])), nil
}

// ownKey begins the keys of calls that gateways make.
const ownKey = "gateway:"

// callKey is the key under which the actor remembers a call. The length of the
// principal keeps apart what two principals can name, and the prefix what callers
// within the cluster do; the hash makes room, and keeps what the keys of people
// outside may tell out of logs.
func callKey(principal, key string) string {
	b := binary.AppendUvarint(nil, uint64(len(principal)))
	b = append(append(b, principal...), key...)
	sum := sha256.Sum256(b)
	return ownKey + base64.RawURLEncoding.EncodeToString(sum[:])
}

// headers lets those headers reach the actor that are meant to.
func (h *handler) headers(ctx context.Context, in *inbound, principal string) context.Context {
	for _, name := range h.forward {
		if values := in.request.Header.Values(name); len(values) > 0 {
			ctx = cajun.SetHeader(ctx, strings.ToLower(name), strings.Join(values, ", "))
		}
	}
	if principal != "" {
		ctx = cajun.SetHeader(ctx, PrincipalHeader, principal)
	}
	return ctx
}

// recovered is the outermost interceptor: a panic of the user's code ends the
// call and nothing else, and what its errors say of other calls is not taken for
// news of this one.
func (h *handler) recovered(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		in, err := inboundFrom(ctx)
		if err != nil {
			return err
		}
		defer func() {
			if p := recover(); p != nil {
				h.logger.Error("a call panicked in the gateway", "procedure", spec.Procedure, "panic", p, "stack", string(debug.Stack()))
				err = withOutcome(connect.NewError(connect.CodeInternal, "the gateway failed; its log tells why"), in.unanswered())
			}
		}()
		return in.ofInterceptor(next(ctx, spec, stream))
	}
}

// reached is the innermost interceptor around whatever the gateway itself does: it
// notes what the user's interceptors are told. A call passes once: its request can be
// read once, and what the first time has done is not known the second time, when
// nothing may say that it was not executed.
func reached(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		in, err := inboundFrom(ctx)
		if err != nil {
			return err
		}
		if in.passed.Swap(true) {
			err = withOutcome(connect.NewError(connect.CodeInternal, "an interceptor has passed the call on twice: pass it on once, as the gateway repeats by itself what may be repeated"), cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED)
		} else {
			err = next(ctx, spec, stream)
		}
		in.told.Store(&err)
		return err
	}
}

// authorized is the innermost interceptor of the gateway's own services.
func (h *handler) authorized(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		in, err := inboundFrom(ctx)
		if err == nil {
			_, err = h.authorize(ctx, in, in.service, "")
		}
		if err != nil {
			return err
		}
		return next(ctx, spec, stream)
	}
}
