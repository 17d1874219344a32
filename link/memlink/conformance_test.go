package memlink_test

import (
	"testing"

	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/linktest"
	"github.com/cajun-go/cajun/link/memlink"
)

// mortal lets the conformance tests kill nodes.
type mortal struct {
	link.Transport
	*memlink.Network
}

func TestConformance(t *testing.T) {
	linktest.Run(t, func(testing.TB) func() link.Transport {
		network := memlink.NewNetwork()
		return func() link.Transport { return mortal{network.Transport(), network} }
	})
}
