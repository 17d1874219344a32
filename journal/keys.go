package journal

import (
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
)

const (
	// KeyRetention is how long a call under the caller's own key is remembered.
	// After it, the same key is a new call.
	KeyRetention = 24 * time.Hour
	// MaxCallKey is the longest key of the caller's own choice, in bytes.
	MaxCallKey = 256
	// MaxKeys and MaxKeyBytes bound how many calls under callers' keys an actor
	// remembers, and about how many bytes these take with their replies: it has them
	// all in memory, and loads them before its first turn.
	MaxKeys     = 16 << 10
	MaxKeyBytes = 16 << 20
	// keyOverhead is about what a key takes in memory besides its text.
	keyOverhead = 128
)

func (a *Actor) rememberKey(name string, row *statev1.KeyRow) {
	if a.keys == nil {
		a.keys = make(map[string]*statev1.KeyRow)
	}
	a.keyBytes += keySize(name, row) - keySize(name, a.keys[name])
	a.keys[name] = row
	a.aging = append(a.aging, aged{name, row.GetExpires()})
}

// expire forgets the keys whose time is over.
func (a *Actor) expire(now int64) {
	for len(a.aging) > 0 && a.aging[0].expires < now {
		next := a.aging[0]
		a.aging = a.aging[1:]
		if row, ok := a.keys[next.name]; ok && row.GetExpires() == next.expires {
			delete(a.keys, next.name)
			a.keyBytes -= keySize(next.name, row)
			a.obsolete = append(a.obsolete, keyRow+next.name)
		}
	}
}

// keySize is about what a remembered key takes; nothing for none.
func keySize(name string, row *statev1.KeyRow) int {
	if row == nil {
		return 0
	}
	return len(name) + proto.Size(row) + keyOverhead
}

func keyName(method, key string) string { return method + "\x00" + key }
