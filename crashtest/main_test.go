//go:build unix

package crashtest

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	long = flag.Duration("crashtest.long", 0, "how long the campaign of random crashes goes on; it takes a few seconds without")
	seed = flag.Uint64("crashtest.seed", 0, "seed of the campaign's choices, as a failure printed it; else a new one each time")
)

// TestMain makes the test binary its own children.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleNode:
		os.Exit(nodeMain())
	case roleEtcd:
		os.Exit(etcdMain())
	}
	flag.Parse()
	os.Exit(m.Run())
}

// patience stretches limits of time for builds and machines that are slow.
func patience(d time.Duration) time.Duration { return d * slowness }
