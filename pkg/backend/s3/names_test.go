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

// TestBackend_BasePrefixHasPlaceholders makes prefixes for a claim's namespace; what is not understood is no prefix.
func TestBackend_BasePrefixHasPlaceholders(t *testing.T) {
	c := newCloud(t)
	bucket := c.bucket("shared-bucket")
	claim := map[string]string{"csi.storage.k8s.io/pvc/namespace": "team-a", "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pv/name": "pvc-1"}
	with := func(parameters map[string]string) map[string]string {
		for key, value := range claim {
			parameters[key] = value
		}
		return parameters
	}
	for text, want := range map[string]string{
		"${pvc.metadata.namespace}/":        "s3://shared-bucket/team-a/pvc-1/",
		"a/${.PVC.namespace}/${.PVC.name}":  "s3://shared-bucket/a/team-a/data/pvc-1/",
		"/${pv.metadata.name}-${.PVC.name}": "s3://shared-bucket/pvc-1-data/pvc-1/",
	} {
		v := mustCreate(t, c.backend(), "pvc-1", with(map[string]string{"bucket": bucket, "basePrefix": text}))
		if again := mustCreate(t, c.backend(), "pvc-1", with(map[string]string{"bucket": bucket, "basePrefix": text})); v.Handle != want || again.Handle != want {
			t.Errorf("%s: %s, and then %s", text, v.Handle, again.Handle)
		}
		mustDelete(t, c.backend(), v.Handle)
	}
	for name, parameters := range map[string]map[string]string{
		"an unknown placeholder":  with(map[string]string{"bucket": bucket, "basePrefix": "${pvc.metadata.uid}/"}),
		"one of tags":             with(map[string]string{"bucket": bucket, "basePrefix": "{{ .PVCNamespace }}/"}),
		"nobody says it":          {"bucket": bucket, "basePrefix": "${.PVC.namespace}/"},
		"in a bucket's name":      with(map[string]string{"bucket": "${.PVC.namespace}"}),
		"in a new bucket's name":  with(map[string]string{"bucketNamePrefix": "${.PVC.namespace}"}),
		"in what exists already":  with(map[string]string{"existingResourceId": "s3://shared-bucket/${pvc.name}/"}),
		"leads into the markers":  {"bucket": bucket, "basePrefix": "${.PVC.name}", "csi.storage.k8s.io/pvc/name": ".diskbridge"},
		"leads out of the bucket": {"bucket": bucket, "basePrefix": "a/${.PVC.name}", "csi.storage.k8s.io/pvc/name": ".."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.backend().Create(t.Context(), request("pvc-2", parameters))
			wantFault(t, err, fault.Invalid, "parameter")
		})
	}
	if left := c.keys("shared-bucket"); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
