// Package samepackage_test compiles and loads actors that are generated beside
// their messages. There, the descriptors of methods are made before
// protoc-gen-go's own init functions have run, so nothing may look at the
// types of messages while it makes a descriptor: this package would not load.
package samepackage_test

import (
	"testing"

	samev1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/samepackage/v1"
	cajun "github.com/cajun-go/cajun/runtime"
)

type room struct{ samev1.UnimplementedRoom }

var (
	_ samev1.Room                                                   = samev1.RoomPid{}
	_ func(func(*cajun.Self, *samev1.A) (room, error)) cajun.Option = samev1.HostRoom[room]
)

func TestLoads(t *testing.T) {
	if got, want := samev1.NewRoomPid(nil, "key"), samev1.NewRoomPid(nil, "key"); got != want {
		t.Errorf("two Pids of one actor differ: %v, %v", got, want)
	}
}
