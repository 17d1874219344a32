//go:build unix

package failpoint

import (
	"flag"
	"os"
	"testing"

	"github.com/cajun-go/cajun/crashtest/internal/process"
)

var (
	kills    = flag.Int("failpoint.kills", 0, "how many failures the long campaign makes; 0 leaves it out")
	seed     = flag.Uint64("failpoint.seed", 0, "seed of the choices, as a failure printed it; else a new one each time")
	only     = flag.String("failpoint.points", "", "points of the long campaign, separated by commas; else all")
	lacking  = flag.String("failpoint.without", "", "the protection that nodes of the long campaign lack")
	controls = flag.Bool("failpoint.controls", false, "make the failures of each protection's test with the protection, too")
	verbose  = flag.Bool("failpoint.verbose", false, "show all that the nodes log")
)

// TestMain makes the test binary its own children.
func TestMain(m *testing.M) {
	switch process.Role() {
	case roleNode:
		os.Exit(nodeMain())
	case process.RoleEtcd:
		os.Exit(process.EtcdMain())
	}
	flag.Parse()
	os.Exit(m.Run())
}
