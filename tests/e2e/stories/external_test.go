package stories

import (
	"os"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/diskbridge/diskbridge/tests/e2e/suite"
)

// TestExternalStorage runs a part of Kubernetes' own storage suite; make e2e-external runs all of it.
func TestExternalStorage(t *testing.T) {
	t.Parallel()
	specs, err := suite.Run(t.Context(), here, suite.Quick, 6)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, s := range specs {
		switch {
		case s.State.Is(types.SpecStatePassed):
			passed++
		case s.State.Is(types.SpecStateFailureStates):
			t.Errorf("%s: %s", s.FullText(), s.Failure.Message)
		}
	}
	if passed < 15 {
		t.Errorf("%d specs passed: the suite has other names for them now", passed)
	}
	page, err := os.ReadFile(here.Paths.Root + "/docs/reference/conformance.md")
	if err != nil || !strings.Contains(string(page), suite.Version) {
		t.Errorf("docs/reference/conformance.md is not about %s (%v): run make e2e-external", suite.Version, err)
	}
}
