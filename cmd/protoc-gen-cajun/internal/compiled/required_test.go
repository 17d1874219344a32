//lint:file-ignore SA1019 the proto file is deprecated as a part of the corpus

package compiled_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/cajuntest"
	oldv1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/proto2/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/proto2/v1/oldv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

// echo answers with the key that is in its request.
type echo struct{}

func (echo) Get(_ context.Context, req *oldv1.GetRequest) (*oldv1.Outer_State, error) {
	return &oldv1.Outer_State{Value: proto.Int32(int32(req.GetId()))}, nil
}

// TestRequiredKey leaves a required key field empty, which is filled before the
// request has to be whole. The caller's message stays as it was.
func TestRequiredKey(t *testing.T) {
	cluster := cajuntest.Start(t, 2, oldv1cajun.HostOld(func(*cajun.Self, *oldv1.Outer_State) (echo, error) { return echo{}, nil }))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 2 {
		req := new(oldv1.GetRequest)
		reply, err := oldv1cajun.NewOldPid(cluster.Node(i), "7").Get(ctx, req)
		if err != nil || reply.GetValue() != 7 || req.Id != nil {
			t.Errorf("node %d: got %v, %v, and the request is %v", i, reply, err, req)
		}
	}
}
