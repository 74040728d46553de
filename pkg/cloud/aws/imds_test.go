package aws

import "testing"

// TestDirect_HasNoProxy: through one, a machine would take the proxy's identity and role for its own.
func TestDirect_HasNoProxy(t *testing.T) {
	if direct().GetTransport().Proxy != nil {
		t.Error("metadata may be asked of a proxy")
	}
}
