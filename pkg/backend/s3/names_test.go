package s3_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestBackend_DeletesEveryName deletes keys that programs make from the names of files.
func TestBackend_DeletesEveryName(t *testing.T) {
	names := []string{"Icon\r", "line\nfeed", "a+b %20c", "ü&<\"'>", "tab\tbed", "last\ufffd"}
	for _, versioning := range []string{"false", "true"} {
		t.Run("versioning "+versioning, func(t *testing.T) {
			c := newCloud(t)
			v := mustCreate(t, c.backend(), "pvc-1", map[string]string{"versioning": versioning})
			bucket := strings.TrimPrefix(v.Handle, "s3://")
			shared := mustCreate(t, c.backend(), "pvc-2", map[string]string{"bucket": c.bucket("shared-bucket")})
			h, err := volume.ParseHandle(shared.Handle)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				c.put(bucket, name, name)
				c.put(h.Root, h.Path+name)
			}
			mustDelete(t, c.backend(), v.Handle)
			mustDelete(t, c.backend(), shared.Handle)
			if left := append(c.left("shared-bucket"), c.keys("shared-bucket")...); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// TestBackend_NameThatNoListShows is on a server that does not know how to write every name: the deletion says so and ends.
func TestBackend_NameThatNoListShows(t *testing.T) {
	c := newCloud(t)
	v := mustCreate(t, c.backend(), "pvc-1", nil)
	c.put(strings.TrimPrefix(v.Handle, "s3://"), "\x01control", "other")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.backend().Delete(ctx, v.Handle)
	wantFault(t, err, fault.Pending, "lists it again")
	if ctx.Err() != nil {
		t.Error("it went on until its caller gave up")
	}
}
