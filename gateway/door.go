package gateway

import (
	"context"
	"errors"
	"sync"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	cajun "github.com/cajun-go/cajun/runtime"
)

// door serves one kind as its schema is now.
type door struct {
	kind   *cajun.DynamicKind
	routes routes
	// files are those of the schema, for reflection.
	files func() *protoregistry.Files
}

// door returns the door of the kind that a name addresses. It is made anew when
// the kind's schema has changed.
func (h *handler) door(ctx context.Context, name string) (*door, error) {
	kind, err := h.node.Kind(ctx, name)
	if err != nil {
		return nil, h.unknownKind(name, err)
	}
	h.mu.RLock()
	d := h.doors[name]
	h.mu.RUnlock()
	if d != nil && d.kind == kind {
		return d, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.doors[name]; d != nil && d.kind == kind {
		return d, nil
	}
	d = h.newDoor(kind)
	h.doors[name] = d
	return d, nil
}

// unknownKind tells why there is no door, and closes the one that was there.
func (h *handler) unknownKind(name string, err error) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return outward(err)
	}
	switch e.Code() {
	case connect.CodeNotFound:
		return notExecuted(connect.Errorf(connect.CodeNotFound, "there is no service %s here", name))
	case connect.CodeUnavailable:
		h.mu.Lock()
		delete(h.doors, name)
		h.mu.Unlock()
		h.logger.Debug("a kind cannot be served now", "kind", name, "error", err)
		return notExecuted(connect.Errorf(connect.CodeUnavailable, "no node hosts %s now", name))
	}
	h.logger.Debug("a kind cannot be served", "kind", name, "error", err)
	return outward(err)
}

// newDoor builds the procedures of a kind.
func (h *handler) newDoor(kind *cajun.DynamicKind) *door {
	d := &door{kind: kind, routes: routes{}, files: sync.OnceValue(func() *protoregistry.Files {
		return filesOf(kind.Descriptor().ParentFile())
	})}
	server := connect.NewServer(h.interceptors()...)
	methods := kind.Descriptor().Methods()
	for i := range methods.Len() {
		m, ok := kind.Method(string(methods.Get(i).Name()))
		if !ok {
			continue
		}
		server.Register(connect.Method{Spec: specOf(kind, m), Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			return h.serve(ctx, kind, m, stream)
		}})
	}
	binary, json := connectproto.NewBinaryCodec(), connectproto.NewJSONCodec()
	if types := kind.Types(); types != nil {
		json = connectproto.NewJSONCodec(connectproto.WithTypeResolver(types))
	}
	connecthttp.Mount(d.routes, server, h.options(connecthttp.WithCodecs(binary, json))...)
	return d
}

// specOf is what Connect has to know of a method.
func specOf(kind *cajun.DynamicKind, m *cajun.DynamicMethod) connect.Spec {
	desc := m.Descriptor()
	spec := connect.Spec{Schema: desc, Procedure: "/" + kind.Name() + "/" + string(desc.Name())}
	if desc.IsStreamingClient() {
		spec.StreamType |= connect.StreamTypeClient
	}
	if desc.IsStreamingServer() {
		spec.StreamType |= connect.StreamTypeServer
	}
	if m.NoSideEffects() {
		spec.IdempotencyLevel = connect.IdempotencyNoSideEffects
	}
	return spec
}

// filesOf is a file with all that it imports.
func filesOf(file protoreflect.FileDescriptor) *protoregistry.Files {
	files := new(protoregistry.Files)
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if f.IsPlaceholder() || files.RegisterFile(f) != nil { // it is there
			return
		}
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
	}
	add(file)
	return files
}
