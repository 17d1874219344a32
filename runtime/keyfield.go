package cajun

import (
	"fmt"
	"strconv"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkKeyField refuses a request whose key field names another actor.
func checkKeyField(spec *methodSpec, key string, req proto.Message) *failure {
	field := spec.rawKey
	if field == nil {
		if spec.opts.KeyField == 0 {
			return nil
		}
		field = req.ProtoReflect().Descriptor().Fields().ByNumber(spec.opts.KeyField)
	}
	got, has := keyIn(field, req)
	if !has {
		v, err := keyValue(field, key)
		if err == nil && keyText(field, v) != key {
			err = fmt.Errorf("write it as %s", keyText(field, v)) // "07" is another actor than "7"
		}
		if err != nil {
			return refuse(connect.CodeInvalidArgument, "the key %q of %s does not fit its field %s: %v", key, spec.path(), field.Name(), err)
		}
		return nil
	}
	if got != key {
		return refuse(connect.CodeInvalidArgument, "the field %s of the request names %q, and the Pid names %q: leave the field empty or make them equal", field.Name(), got, key)
	}
	return nil
}

// fillKeyField puts the actor's key into its field of a request that the
// runtime owns.
func fillKeyField(spec *methodSpec, key string, req proto.Message) {
	if spec.opts.KeyField == 0 {
		return
	}
	m := req.ProtoReflect()
	field := m.Descriptor().Fields().ByNumber(spec.opts.KeyField)
	if m.Has(field) {
		return
	}
	if v, err := keyValue(field, key); err == nil {
		m.Set(field, v)
	}
}

// completed returns the request with its key when that is a required field which
// the caller has left empty: without it the request could not be encoded.
func completed(spec *methodSpec, key string, req proto.Message) proto.Message {
	if spec.opts.KeyField == 0 {
		return req
	}
	m := req.ProtoReflect()
	if field := m.Descriptor().Fields().ByNumber(spec.opts.KeyField); field.Cardinality() != protoreflect.Required || m.Has(field) {
		return req
	}
	req = proto.Clone(req) // the caller's stays as it is
	fillKeyField(spec, key, req)
	return req
}

func keyText(field protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if field.Kind() == protoreflect.EnumKind {
		return strconv.FormatInt(int64(v.Enum()), 10)
	}
	return v.String()
}

// keyValue reads a key as a value of the field that is to hold it.
func keyValue(field protoreflect.FieldDescriptor, key string) (protoreflect.Value, error) {
	switch field.Kind() {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		v, err := strconv.ParseInt(key, 10, 32)
		return protoreflect.ValueOfInt32(int32(v)), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		v, err := strconv.ParseInt(key, 10, 64)
		return protoreflect.ValueOfInt64(v), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		v, err := strconv.ParseUint(key, 10, 32)
		return protoreflect.ValueOfUint32(uint32(v)), err
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		v, err := strconv.ParseUint(key, 10, 64)
		return protoreflect.ValueOfUint64(v), err
	case protoreflect.EnumKind:
		v, err := strconv.ParseInt(key, 10, 32)
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(v)), err
	}
	return protoreflect.ValueOfString(key), nil
}
