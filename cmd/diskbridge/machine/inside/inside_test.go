package inside

import (
	"strings"
	"testing"
)

// TestMain_ByHand: whoever starts a host's process by hand keeps the name and the mounts of the machine.
func TestMain_ByHand(t *testing.T) {
	for _, command := range []string{hostCommand, serverCommand} {
		done, err := Main(t.Context(), []string{"program", command, "name", ""})
		if !done || err == nil || !strings.Contains(err.Error(), "namespaces of its own") {
			t.Errorf("%s: %t, %v", command, done, err)
		}
	}
	if err := Enter(); err == nil || !strings.Contains(err.Error(), "namespaces of its own") {
		t.Errorf("Enter: %v", err)
	}
	if done, err := Main(t.Context(), []string{"program", "something"}); done || err != nil {
		t.Errorf("something else: %t, %v", done, err)
	}
}
