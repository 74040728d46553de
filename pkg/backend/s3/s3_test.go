package s3_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/backendtest"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestBackend_Buckets(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		c := newCloud(t)
		return backendtest.Fixture{
			Backend: c.backend(), Capability: capability, Missing: "s3://never-was-0123456789abcdef",
			Restart: func() backend.Backend { return c.backend() },
			Foreign: func() string { return "s3://" + c.bucket("somebody-elses") },
			Left:    func() []string { return c.left("somebody-elses") },
		}
	})
}

func TestBackend_Prefixes(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		c := newCloud(t)
		shared := c.bucket("shared-bucket")
		return backendtest.Fixture{
			Backend: c.backend(), Capability: capability, Missing: "s3://shared-bucket/never/",
			Parameters: map[string]string{"bucket": shared, "basePrefix": "volumes"},
			Restart:    func() backend.Backend { return c.backend() },
			Foreign:    func() string { c.put(shared, "theirs/data"); return "s3://shared-bucket/theirs/" },
			Left: func() []string {
				return slices.DeleteFunc(c.keys(shared), func(key string) bool { return strings.HasPrefix(key, "theirs/") })
			},
		}
	})
}

// TestBackend_Credentials takes those of a secret, and says when they are wrong.
func TestBackend_Credentials(t *testing.T) {
	c := newCloud(t)
	own, err := c.backend().With(map[string]string{"accessKeyID": "test", "secretAccessKey": "test"})
	if err != nil {
		t.Fatal(err)
	}
	v := mustCreate(t, own, "pvc-1", nil)
	if v.Context[volume.ContextCredentials] != "secret" {
		t.Errorf("context %v does not ask for a secret", v.Context)
	}
	mustDelete(t, own, v.Handle)
	wrong, err := c.backend().With(map[string]string{"accessKeyID": "test", "secretAccessKey": "not-the-secret"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Create(t.Context(), request("pvc-1", nil))
	if !fault.Is(err, fault.Denied) || strings.Contains(err.Error(), "not-the-secret") {
		t.Errorf("wrong secret: %v", err)
	}
	_, err = c.backend().With(map[string]string{"accessKeyID": "test"})
	wantFault(t, err, fault.Invalid, "secretAccessKey is missing")
	_, err = c.backend().With(map[string]string{"accessKeyID": "test", "secretAccessKey": "x", "endpoint": "http://x"})
	wantFault(t, err, fault.Invalid, "endpoint profile")
}
