//go:build unix

package crashtest

import (
	"flag"
	"os"
	"testing"

	"github.com/cajun-go/cajun/crashtest/internal/process"
)

var (
	long = flag.Duration("crashtest.long", 0, "how long the campaign of random crashes goes on; it takes a few seconds without")
	seed = flag.Uint64("crashtest.seed", 0, "seed of the campaign's choices, as a failure printed it; else a new one each time")
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
