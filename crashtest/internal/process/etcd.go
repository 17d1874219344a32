//go:build unix

package process

import (
	"context"
	"io"
	"os"

	"github.com/cajun-go/cajun/metadata/embedetcd"
)

// RoleEtcd is the role of a child that runs EtcdMain.
const RoleEtcd = "etcd"

// EtcdSettings configure an etcd. An empty Address stands for a free one.
type EtcdSettings struct{ Dir, Address string }

// EtcdMain is the life of an etcd: it says where it is once it is ready, and
// returns the process's exit code when its parent is gone.
func EtcdMain() int {
	out := &Speaker{}
	var s EtcdSettings
	err := Settings(&s)
	if err == nil {
		var opts []embedetcd.Option
		if s.Address != "" {
			opts = append(opts, embedetcd.WithClientAddress(s.Address))
		}
		var server *embedetcd.Server
		if server, err = embedetcd.Start(context.Background(), s.Dir, opts...); err == nil {
			defer server.Close()
			out.Say("ready %s", server.Config().Endpoints[0])
			io.Copy(io.Discard, os.Stdin)
			return 0
		}
	}
	out.Say("failed %v", err)
	return 1
}
