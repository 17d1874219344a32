package gateway

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// reflectionTimeout bounds the reading of the schemas that one question is about.
const reflectionTimeout = 10 * time.Second

// serveOwn mounts the gateway's own services.
func (h *handler) serveOwn() {
	server := connect.NewServer(h.interceptors(h.authorized)...)
	file, err := healthFile()
	if err != nil {
		h.logger.Error("the gateway does not serve health", "error", err)
	} else {
		server.Register(h.healthMethods(file)...)
	}
	if !h.config.hidden {
		r := reflection{h, file}
		grpcreflect.Register(server, grpcreflect.WithNamer(r), grpcreflect.WithDescriptorResolver(r), grpcreflect.WithExtensionResolver(r))
	}
	connecthttp.Mount(h.own, server, h.options(connecthttp.WithCodecs(connectproto.NewBinaryCodec(), connectproto.NewJSONCodec()))...)
}

// reflection tells what the kinds of the cluster look like. Nothing that the
// program has linked besides is told.
type reflection struct {
	h      *handler
	health protoreflect.FileDescriptor
}

// files calls yield for the files of each kind that can be read, in the order of
// the kinds' names, until it returns false.
func (r reflection) files(yield func(service string, files *protoregistry.Files) bool) {
	ctx, cancel := context.WithTimeout(r.h.closing, reflectionTimeout)
	defer cancel()
	for _, name := range r.h.node.KindNames() {
		if reserved(name) {
			continue
		}
		d, err := r.h.door(ctx, name)
		if err == nil && !yield(string(d.kind.Descriptor().FullName()), d.files()) {
			return
		}
	}
	if r.health != nil {
		yield(healthService, filesOf(r.health))
	}
}

// Names implements grpcreflect.Namer.
func (r reflection) Names() (names []string) {
	for name := range r.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// FindFileByPath implements protodesc.Resolver.
func (r reflection) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	for _, files := range r.files {
		if f, err := files.FindFileByPath(path); err == nil {
			return f, nil
		}
	}
	return nil, protoregistry.NotFound
}

// FindDescriptorByName implements protodesc.Resolver.
func (r reflection) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	for _, files := range r.files {
		if d, err := files.FindDescriptorByName(name); err == nil {
			return d, nil
		}
	}
	return nil, protoregistry.NotFound
}

// FindExtensionByName implements protoregistry.ExtensionTypeResolver.
func (r reflection) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	d, err := r.FindDescriptorByName(name)
	if x, ok := d.(protoreflect.ExtensionDescriptor); ok && err == nil && x.IsExtension() {
		return dynamicpb.NewExtensionType(x), nil
	}
	return nil, protoregistry.NotFound
}

// FindExtensionByNumber implements protoregistry.ExtensionTypeResolver.
func (r reflection) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (found protoreflect.ExtensionType, err error) {
	err = protoregistry.NotFound
	r.RangeExtensionsByMessage(message, func(x protoreflect.ExtensionType) bool {
		if x.TypeDescriptor().Number() != number {
			return true
		}
		found, err = x, nil
		return false
	})
	return found, err
}

// RangeExtensionsByMessage implements grpcreflect.ExtensionResolver.
func (r reflection) RangeExtensionsByMessage(message protoreflect.FullName, yield func(protoreflect.ExtensionType) bool) {
	seen := make(map[protoreflect.FieldNumber]bool)
	look := func(xs protoreflect.ExtensionDescriptors) bool {
		for i := range xs.Len() {
			x := xs.Get(i)
			if x.ContainingMessage().FullName() != message || seen[x.Number()] {
				continue
			}
			seen[x.Number()] = true
			if !yield(dynamicpb.NewExtensionType(x)) {
				return false
			}
		}
		return true
	}
	var nested func(protoreflect.MessageDescriptors) bool
	nested = func(ms protoreflect.MessageDescriptors) bool {
		for i := range ms.Len() {
			if m := ms.Get(i); !look(m.Extensions()) || !nested(m.Messages()) {
				return false
			}
		}
		return true
	}
	for _, files := range r.files {
		more := true
		files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
			more = look(f.Extensions()) && nested(f.Messages())
			return more
		})
		if !more {
			return
		}
	}
}
