package machine

import (
	"path/filepath"
	"strings"
	"testing"
)

// Without it, User Mode Linux panics at its first process on a processor with AMX.
func TestPreload(t *testing.T) {
	environment, err := preload(t.Context(), filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range environment {
		if library, ok := strings.CutPrefix(e, "LD_PRELOAD="); !ok || filepath.Ext(library) != ".so" {
			t.Errorf("environment %q", environment)
		}
	}
}
