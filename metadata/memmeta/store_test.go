package memmeta_test

import (
	"testing"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	"github.com/cajun-go/cajun/metadata/metatest"
)

func open(t testing.TB) metadata.Store {
	s := memmeta.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	metatest.Run(t, open)
}

func TestConformanceInFakeTime(t *testing.T) {
	metatest.Run(t, open, metatest.WithFakeTime())
}
