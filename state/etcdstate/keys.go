package etcdstate

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/cajun-go/cajun/state"
)

// keyspace makes the etcd keys of one cluster. All begin with the prefix:
//
//	state-cluster                        the cluster's ID
//	fences/<kind>/<shard>                a fence, see encodeFence
//	actors/<kind>/<shard>/<key>\0        an actor's record
//	actors/<kind>/<shard>/<key>\0<name>  a row beside the record
//	agendas/<kind>/<shard>/<key>         an actor's agenda, see encodeAgenda
//
// A kind has no slash and a shard is a decimal number, so neither can be
// taken for what follows it. The actor's key is escaped and ends with a NUL,
// which makes it free of prefixes: one range read from the record's key gets
// exactly one actor. A row's name comes last and needs no escape. Agendas are
// apart from the actors, as a range read of a shard's agendas must not meet its
// records; their keys end with the actor's escaped key and need no NUL.
type keyspace string

func (k keyspace) cluster() string { return string(k) + "state-cluster" }

func (k keyspace) fence(s state.Shard) string {
	return string(k) + "fences/" + s.Kind + "/" + strconv.FormatUint(uint64(s.Number), 10)
}

// record is the key of a's record; a row's key is that and the row's name.
func (k keyspace) record(a state.Actor) string {
	return string(k) + "actors/" + a.Shard.Kind + "/" +
		strconv.FormatUint(uint64(a.Shard.Number), 10) + "/" + escape(a.Key) + terminator
}

// agendas is what the keys of a shard's agendas begin with. Its slash keeps
// shard 1 from shard 10.
func (k keyspace) agendas(s state.Shard) string {
	return string(k) + "agendas/" + s.Kind + "/" + strconv.FormatUint(uint64(s.Number), 10) + "/"
}

func (k keyspace) agenda(a state.Actor) string { return k.agendas(a.Shard) + escape(a.Key) }

// agendasAfter is the range of a shard's agendas after an actor's key, or of
// all with "". Nothing is between a key and the key with a NUL at its end, and
// the end is the slash's successor in place of the slash.
func (k keyspace) agendasAfter(s state.Shard, after string) (from, end string) {
	all := k.agendas(s)
	return all + escape(after) + "\x00", all[:len(all)-1] + "0"
}

// endOfActor is the end of the range that begins with an actor's record.
func endOfActor(record string) string {
	return record[:len(record)-len(terminator)] + "\x01"
}

const terminator = "\x00"

// escaper frees a key of NULs. The escapes sort among other bytes as the bytes
// do that they stand for, so escaped keys have the order of the keys.
var escaper = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")

func escape(key string) string { return escaper.Replace(key) }

var unescaper = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01")

// unescape undoes escape.
func unescape(escaped string) string { return unescaper.Replace(escaped) }

// agendaSize is the size of an encoded agenda: 8 bytes of Due and 4 of Dead.
const agendaSize = 12

func encodeAgenda(a state.Agenda) []byte {
	value := binary.BigEndian.AppendUint64(make([]byte, 0, agendaSize), uint64(a.Due))
	return binary.BigEndian.AppendUint32(value, a.Dead)
}

func decodeAgenda(value []byte) (state.Agenda, error) {
	if len(value) != agendaSize {
		return state.Agenda{}, fmt.Errorf("state: an agenda in etcd is damaged: %q", value)
	}
	return state.Agenda{Due: int64(binary.BigEndian.Uint64(value)), Dead: binary.BigEndian.Uint32(value[8:])}, nil
}

// encodeFence puts the epoch first, in a fixed width and big-endian. So the
// order of values is the order of epochs, and "is the stored epoch lower?" is
// a comparison that etcd makes by itself: value < encodeEpoch(epoch).
func encodeFence(f state.Fence) string { return encodeEpoch(f.Epoch) + f.Session }

func encodeEpoch(epoch uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, epoch))
}

func decodeFence(value []byte) (state.Fence, error) {
	if len(value) < 8 {
		return state.Fence{}, fmt.Errorf("state: a fence in etcd is damaged: %q", value)
	}
	return state.Fence{Epoch: binary.BigEndian.Uint64(value), Session: string(value[8:])}, nil
}
