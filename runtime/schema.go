package cajun

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/placement"
)

const (
	// maxSchema is how large the compressed schema of a kind may be, in bytes:
	// etcd takes about 1.5 MB per request.
	maxSchema = 1 << 20
	// maxPlainSchema is how large it may be when it is read, so that a damaged
	// entry costs no more.
	maxPlainSchema = 32 << 20
	// schemaBatch is how many bytes of schemas are written at once.
	schemaBatch = 1 << 20
)

// files are the files of one kind's schema.
type files struct{ *protoregistry.Files }

// registerKinds makes the cluster know the kinds that this node hosts.
func (n *Node) registerKinds(ctx context.Context) error {
	specs := make([]placement.KindSpec, len(n.config.hosted))
	for i, h := range n.config.hosted {
		specs[i] = placement.KindSpec{Names: append([]string{h.kind.Name}, h.kind.Aliases...), Shards: orDefault(h.kind.Shards, DefaultShards)}
	}
	identities, err := placement.Register(ctx, n.config.metadata, n.space, specs)
	if err != nil {
		return err
	}
	for i, h := range n.config.hosted {
		h.identity = identities[i]
		h.capacity = orDefault(h.kind.MailboxCapacity, DefaultMailboxCapacity)
		h.idle = orDefault(h.kind.IdleTimeout, DefaultIdleTimeout)
		h.shards = newShardTable(specs[i].Shards)
		n.hosted[h.identity] = h
	}
	return nil
}

// publishSchemas tells the cluster what the kinds look like that this node
// hosts, so that gateways can serve them. What is written goes with the session.
func (n *Node) publishSchemas(ctx context.Context) error {
	var txn metadata.Txn
	size := 0
	flush := func() error {
		if len(txn.Then) == 0 {
			return nil
		}
		_, err := n.config.metadata.Commit(ctx, txn)
		txn, size = metadata.Txn{}, 0
		return err
	}
	for _, identity := range slices.Sorted(maps.Keys(n.hosted)) {
		h := n.hosted[identity]
		if h.kind.Schema == nil || *h.kind.Schema == nil {
			continue // code of an older plugin, or none: gateways say so
		}
		value, err := encodeSchema(*h.kind.Schema)
		if err != nil {
			return fmt.Errorf("the schema of %s cannot be encoded: %w", h.kind.Name, err)
		}
		if len(value) > maxSchema {
			n.logger.Warn("the schema of a kind is too large to be published: gateways of nodes that do not host the kind will not serve it; host it on nodes with gateways, or split its proto file and what that imports",
				"kind", h.kind.Name, "bytes", len(value), "limit", maxSchema)
			continue
		}
		if size+len(value) > schemaBatch || len(txn.Then) == metadata.MaxTxn {
			if err := flush(); err != nil {
				return fmt.Errorf("the schemas of the hosted kinds cannot be written: %w", err)
			}
		}
		txn.Then = append(txn.Then, metadata.Put(n.space.Schema(n.ID(), identity), value, n.session.Lease()))
		size += len(value)
	}
	if err := flush(); err != nil {
		return fmt.Errorf("the schemas of the hosted kinds cannot be written: %w", err)
	}
	return nil
}

// encodeSchema returns a compressed FileDescriptorSet of file and all that it
// imports. The file itself comes last.
func encodeSchema(file protoreflect.FileDescriptor) ([]byte, error) {
	set := new(descriptorpb.FileDescriptorSet)
	seen := make(map[string]bool)
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if f.IsPlaceholder() || seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(file)
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// decodeSchema reads what encodeSchema wrote: all files, and the last of them.
func decodeSchema(value []byte) (files, protoreflect.FileDescriptor, error) {
	r, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return files{}, nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxPlainSchema+1))
	if err == nil && len(plain) > maxPlainSchema {
		err = fmt.Errorf("it has more than %d bytes", maxPlainSchema)
	}
	if err != nil {
		return files{}, nil, err
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(plain, set); err != nil {
		return files{}, nil, err
	}
	if len(set.GetFile()) == 0 {
		return files{}, nil, errors.New("it holds no file")
	}
	registry, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(set)
	if err != nil {
		return files{}, nil, err
	}
	main, err := registry.FindFileByPath(set.GetFile()[len(set.GetFile())-1].GetName())
	return files{registry}, main, err
}
