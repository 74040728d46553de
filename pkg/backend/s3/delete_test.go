package s3_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestBackend_DeleteTouchesNoNeighbour deletes prod/ beside prod-2/ and prod itself.
func TestBackend_DeleteTouchesNoNeighbour(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	b := c.backend()
	prod := mustCreate(t, b, "prod", map[string]string{"bucket": shared})
	other := mustCreate(t, b, "prod-2", map[string]string{"bucket": shared})
	if prod.Handle != "s3://shared-bucket/prod/" || other.Handle != "s3://shared-bucket/prod-2/" {
		t.Fatalf("handles %s, %s", prod.Handle, other.Handle)
	}
	c.put(shared, "prod/a", "prod/b/c", "prod-2/a", "prod-2/b/c", "prod.txt", "product/x")
	mustDelete(t, b, prod.Handle)
	want := []string{volume.ObjectMarker("prod-2/"), "prod-2/", "prod-2/a", "prod-2/b/c", "prod.txt", "product/x"}
	got := c.keys(shared)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

// TestBackend_HandWrittenVolumeLosesNothing deletes a prefix that nobody marked.
func TestBackend_HandWrittenVolumeLosesNothing(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	c.put(shared, "prod/a")
	_, err := c.backend().Delete(t.Context(), "s3://shared-bucket/prod/")
	wantFault(t, err, fault.InUse, "no marker")
	_, err = c.backend().Delete(t.Context(), "s3://shared-bucket")
	wantFault(t, err, fault.InUse, "put-bucket-tagging --bucket shared-bucket")
	if got := c.keys(shared); !slices.Equal(got, []string{"prod/a"}) {
		t.Errorf("left %v", got)
	}
}

// TestBackend_AnotherClustersVolume is refused.
func TestBackend_AnotherClustersVolume(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	theirs := c.backendOf("other")
	for _, parameters := range []map[string]string{nil, {"bucket": shared}} {
		v := mustCreate(t, theirs, "pvc-1", parameters)
		_, err := c.backend().Delete(t.Context(), v.Handle)
		wantFault(t, err, fault.InUse, `cluster "other"`)
		if parameters != nil {
			_, err = c.backend().Create(t.Context(), request("pvc-1", parameters))
			wantFault(t, err, fault.Conflict, `cluster "other"`)
		}
		mustDelete(t, theirs, v.Handle)
	}
}

// TestBackend_Retain keeps what it was told to keep.
func TestBackend_Retain(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	for _, parameters := range []map[string]string{{"onDelete": "retain"}, {"onDelete": "retain", "bucket": shared}} {
		v := mustCreate(t, c.backend(), "pvc-1", parameters)
		h, _ := volume.ParseHandle(v.Handle)
		c.put(h.Root, h.Path+"a")
		kept, err := c.backend().Delete(t.Context(), v.Handle)
		if err != nil || !strings.Contains(kept, "retain") || !slices.Contains(c.keys(h.Root), h.Path+"a") {
			t.Errorf("kept %q, %v, left %v", kept, err, c.keys(h.Root))
		}
	}
}

// TestBackend_VolumesInsideVolumes are neither made nor deleted with one another.
func TestBackend_VolumesInsideVolumes(t *testing.T) {
	c := newCloud(t)
	b := c.backend()
	outer := mustCreate(t, b, "outer", nil)
	bucket := strings.TrimPrefix(outer.Handle, "s3://")
	inner := mustCreate(t, b, "inner", map[string]string{"bucket": bucket})
	_, err := b.Delete(t.Context(), outer.Handle)
	wantFault(t, err, fault.InUse, "prefixes lie in the bucket")
	_, err = b.Create(t.Context(), request("deep", map[string]string{"bucket": bucket, "basePrefix": "inner"}))
	wantFault(t, err, fault.Conflict, `lies inside inner/`)
	mustDelete(t, b, inner.Handle)
	mustDelete(t, b, outer.Handle)
	if left := c.left(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestBackend_DeletesAmongManyVolumes reads each marker of a bucket once, not again for each volume that goes.
func TestBackend_DeletesAmongManyVolumes(t *testing.T) {
	c := newCloud(t)
	b, shared := c.backend(), c.bucket("shared-bucket")
	const n = 12
	var volumes []string
	for i := range n {
		volumes = append(volumes, mustCreate(t, b, fmt.Sprint("pvc-", i), map[string]string{"bucket": shared}).Handle)
	}
	before := c.Calls()["s3:GetObject"].OK
	for _, v := range volumes {
		mustDelete(t, b, v)
	}
	if reads := c.Calls()["s3:GetObject"].OK - before; reads > 3*n {
		t.Errorf("%d reads for %d deletions", reads, n)
	}
}

// TestBackend_ObjectLock is respected: the volume stays, with what is locked in it.
func TestBackend_ObjectLock(t *testing.T) {
	c := newCloud(t)
	ctx := t.Context()
	v := mustCreate(t, c.backend(), "pvc-1", nil)
	mustDelete(t, c.backend(), v.Handle)
	bucket := strings.TrimPrefix(v.Handle, "s3://")
	if _, err := c.sdk.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: &bucket, ObjectLockEnabledForBucket: sdkaws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c.backend(), "pvc-1", nil) // empty and ours by name
	until := time.Now().Add(time.Hour)
	key := "locked"
	if _, err := c.sdk.PutObject(ctx, &sdk.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte("data")), ObjectLockMode: types.ObjectLockModeGovernance, ObjectLockRetainUntilDate: &until,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	}); err != nil {
		t.Fatal(err)
	}
	_, err := c.backend().Delete(ctx, v.Handle)
	wantFault(t, err, fault.InUse, "object lock")
	if got := c.keys(bucket); !slices.Equal(got, []string{"locked"}) {
		t.Errorf("left %v", got)
	}
}

// TestBackend_DeleteManyVersions deletes 500 objects, each with an older version and
// some with a delete marker, and unfinished uploads, in calls that end early.
func TestBackend_DeleteManyVersions(t *testing.T) {
	c := newCloud(t)
	ctx := t.Context()
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", map[string]string{"versioning": "true"})
	bucket := strings.TrimPrefix(v.Handle, "s3://")
	for i := range 500 {
		key := fmt.Sprintf("dir-%d/object-%d", i%7, i)
		c.put(bucket, key, key)
		if i%10 == 0 {
			if _, err := c.sdk.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 {
		key := fmt.Sprintf("upload-%d", i)
		if _, err := c.sdk.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	// The first deletion is refused, the second one's answer is lost, and the process dies each time.
	if err := c.AddFaults(
		emulator.Fault{Operation: "s3:DeleteObjects", Nth: 1, Effect: "refuse", Code: "InternalError"},
		emulator.Fault{Operation: "s3:DeleteBucket", Nth: 1, Effect: "refuse", Code: "OperationAborted"},
	); err != nil {
		t.Fatal(err)
	}
	calls := 1
	for ; ; calls++ {
		kept, err := c.backend().Delete(ctx, v.Handle)
		if err == nil && kept == "" {
			break
		}
		if k := fault.KindOf(err); calls > 10 || k != fault.Pending && k != fault.UnknownOutcome {
			t.Fatalf("call %d: kept %q, %v", calls, kept, err)
		}
	}
	if calls == 1 {
		t.Error("the faults were not felt")
	}
	if left := c.left(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	mustDelete(t, b, v.Handle)
}
