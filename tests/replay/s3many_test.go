package replay

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestDelete_ThousandObjectsWithVersions deletes a bucket of 1,000 objects, each with two versions and some with a delete
// marker, and of unfinished uploads. The driver is killed at each kind of call that deletes, and once its caller has too
// little time; what was deleted is not deleted again.
func TestDelete_ThousandObjectsWithVersions(t *testing.T) {
	s := newSite(t, settings[0], kind{name: "s3", driverName: sandbox.S3Driver}, 1)
	var o *s3
	_, err := objects(func(ctx context.Context, made *s3) (request, error) { o = made; return request{}, o.create(ctx) })(t.Context(), insisting(s.driver.Conn), s.emulator, "many")
	if err != nil {
		t.Fatal(err)
	}
	bucket := strings.TrimPrefix(o.volume, "s3://")
	s.must(o.fill(t.Context(), bucket))

	left := func(least, most int) (n int) {
		t.Helper()
		if n = o.versions(t, bucket); n < least || n > most {
			t.Fatalf("%d versions are left, not %d to %d", n, least, most)
		}
		return n
	}
	left(2100, 2100)
	s.killDuring(o, harness.Fault{Operation: "s3:AbortMultipartUpload", Nth: 2, Effect: "hold-after"})
	s.killDuring(o, harness.Fault{Operation: "s3:DeleteObjects", Probability: 1, Effect: "hold-before"})
	left(2100, 2100)
	s.giveUp(o)
	n := left(1, 1100)
	s.killDuring(o, harness.Fault{Operation: "s3:DeleteObjects", Nth: 1, Effect: "hold-after"})
	left(0, n-1)
	s.killDuring(o, harness.Fault{Operation: "s3:DeleteBucket", Nth: 1, Effect: "hold-before"})
	s.killDuring(o, harness.Fault{Operation: "s3:DeleteBucket", Nth: 1, Effect: "hold-after"})
	for range 2 {
		if _, err := csi.NewControllerClient(insisting(s.driver.Conn)).DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: o.volume}); err != nil {
			t.Fatal(err)
		}
	}
	harness.RequireEmpty(t, s.emulator)
}

// fill writes 1,000 objects twice, deletes every tenth and leaves three uploads unfinished.
func (o *s3) fill(ctx context.Context, bucket string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range 1000 {
		group.Go(func() error {
			key := fmt.Sprintf("dir-%d/object-%d", i%7, i)
			for range 2 {
				if _, err := o.user.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("data")}); err != nil {
					return err
				}
			}
			if i%10 == 0 {
				if _, err := o.user.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
					return err
				}
			}
			if i < 3 {
				_, err := o.user.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// versions counts the versions and delete markers. The server shows one of them on two pages, where a page ends within
// a key.
func (o *s3) versions(t *testing.T, bucket string) int {
	t.Helper()
	seen := map[[2]string]bool{}
	pages := awss3.NewListObjectVersionsPaginator(o.user, &awss3.ListObjectVersionsInput{Bucket: &bucket, MaxKeys: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			seen[[2]string{*v.Key, *v.VersionId}] = true
		}
		for _, m := range page.DeleteMarkers {
			seen[[2]string{*m.Key, *m.VersionId}] = true
		}
	}
	return len(seen)
}

// killDuring kills the driver while a call of a deletion is held, and starts the next one.
func (s *site) killDuring(o *s3, at harness.Fault) {
	s.t.Helper()
	s.must(harness.SetFaults(s.t.Context(), s.emulator, at))
	answered := make(chan error, 1)
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	conn := onProcess(s.driver.Conn)
	go func() {
		_, err := csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: o.volume})
		answered <- err
	}()
	if !s.held(answered) {
		s.t.Fatalf("the deletion did not call %s", at.Operation)
	}
	s.driver.Kill()
	if err := <-answered; err == nil {
		s.t.Errorf("%s: a killed driver answered", at.Operation)
	}
	s.must(harness.ClearFaults(s.t.Context(), s.emulator))
	s.start()
}

// giveUp asks for the deletion with too little time: the answer says how far it came, and is one to ask again after.
func (s *site) giveUp(o *s3) {
	s.t.Helper()
	slow := harness.Fault{Operation: "s3:ListObjectVersions", Probability: 1, Effect: "delay", DelayMS: int(5000 * settings[0].speed)} // 5 s for us
	s.must(harness.SetFaults(s.t.Context(), s.emulator, slow))
	ctx, cancel := context.WithTimeout(s.t.Context(), 12*time.Second)
	defer cancel()
	_, err := csi.NewControllerClient(s.driver.Conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: o.volume})
	if status.Code(err) != codes.Aborted || !strings.Contains(status.Convert(err).Message(), "000 versions were deleted in this call") {
		s.t.Errorf("with too little time: %v", err)
	}
	s.must(harness.ClearFaults(s.t.Context(), s.emulator))
}
