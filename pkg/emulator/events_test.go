package emulator_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

func TestServer_eventsTellEveryChange(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	resp, err := http.Get(c.Endpoint() + "/_emulator/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "" {
		t.Fatalf("the first line is %q, not empty (%v)", lines.Text(), lines.Err())
	}
	next := func(fits func(emulator.Event) bool) {
		t.Helper()
		for lines.Scan() {
			var e emulator.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if fits(e) {
				return
			}
		}
		t.Fatalf("the events ended early: %v", lines.Err())
	}
	made := must(c.ec2.CreateVolume(c.ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)}))(c)
	next(func(e emulator.Event) bool { return e.Volume != nil && e.Volume.State == "creating" })
	c.advance(2 * time.Second)
	next(func(e emulator.Event) bool {
		return e.Volume != nil && e.Volume.ID == *made.VolumeId && e.Volume.State == "available"
	})
	snap := must(c.ec2.CreateSnapshot(c.ctx, &ec2.CreateSnapshotInput{VolumeId: made.VolumeId}))(c)
	next(func(e emulator.Event) bool { return e.Snapshot != nil && e.Snapshot.ID == *snap.SnapshotId })
	must(c.ec2.DeleteVolume(c.ctx, &ec2.DeleteVolumeInput{VolumeId: made.VolumeId}))(c)
	c.advance(time.Second)
	next(func(e emulator.Event) bool { return e.Gone == *made.VolumeId })

	began := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || time.Since(began) > 4*time.Second {
		t.Errorf("after the emulator closed, the stream went on with %q (%v)", rest, err)
	}
}
