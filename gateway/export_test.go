package gateway

import (
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// CallKey is the key under which an actor remembers a call.
func CallKey(principal, key string) string { return callKey(principal, key) }

// Doors is how many doors a handler of NewHandler keeps.
func Doors(h http.Handler) int {
	d := h.(*handler)
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.doors)
}

// Outward is what callers outside the cluster are told of an error.
func Outward(err error) error { return outward(err) }

// HealthFile describes the health service.
func HealthFile() (protoreflect.FileDescriptor, error) { return healthFile() }
