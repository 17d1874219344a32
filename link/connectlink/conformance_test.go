package connectlink_test

import (
	"testing"

	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/connectlink"
	"github.com/cajun-go/cajun/link/linktest"
)

func TestConformance(t *testing.T) {
	linktest.Run(t, func(testing.TB) func() link.Transport {
		return func() link.Transport { return connectlink.New() }
	})
}
