package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// What users bring along from the EBS CSI driver: their classes, volumes and snapshots.

func TestCreate_AnotherShapeUnderTheNameIsAConflict(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	ask := func(parameters map[string]string) (volume.Volume, error) {
		req := request("v", 10)
		req.Parameters = parameters
		return b.Create(t.Context(), req)
	}
	first := map[string]string{"iops": "4000", "throughput": "200"}
	v, err := ask(first)
	if err != nil {
		t.Fatal(err)
	}
	for want, other := range map[string]map[string]string{
		"type gp3, 4000 iops, 200 MiB/s, not type io2, 500 iops": {"type": "io2", "iops": "500"},
		"not type gp3, 4500 iops":                                {"iops": "4500"},
		"not type gp3, 300 MiB/s":                                {"throughput": "300"},
	} {
		if _, err := ask(other); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want a conflict with %q", other, err, want)
		}
	}
	if again, err := ask(nil); err != nil || again.Handle != v.Handle {
		t.Errorf("a request that leaves it open: %v, %v", again.Handle, err)
	}
	// What has changed while it lived is no contradiction to how it was made.
	if err := b.Modify(t.Context(), v.Handle, map[string]string{"type": "io2", "iops": "500"}); err != nil {
		t.Fatal(err)
	}
	for _, process := range []*ebs.Backend{b, c.backend()} {
		b = process
		if again, err := ask(first); err != nil || again.Handle != v.Handle {
			t.Errorf("the first request after a modification: %v, %v", again.Handle, err)
		}
	}
}

// TestCreate_ABareFSType is as old classes say it; the provisioner has read it already.
func TestCreate_ABareFSType(t *testing.T) {
	t.Parallel()
	c := instant(t)
	req := request("v", 10)
	req.Parameters = map[string]string{"fstype": "xfs"}
	if _, err := c.backend().Create(t.Context(), req); err != nil {
		t.Error(err)
	}
}

// TestCreate_AModifiedVolumeAnswersItsRequestUnderOldViews: EC2 shows the modification and what it did at different times.
func TestCreate_AModifiedVolumeAnswersItsRequestUnderOldViews(t *testing.T) {
	t.Parallel()
	for seed := int64(1); seed <= 4; seed++ {
		c := lagging(t, seed)
		v := mustCreate(t, c.backend(), "v")
		client := c.client() // by hand, since Modify waits for both views
		for asked := false; !asked; {
			err := client.ModifyVolume(t.Context(), v.Handle, ec2.Change{Type: "gp2"})
			if asked = err == nil; !asked && !fault.Is(err, fault.NotFound) { // not shown yet
				t.Fatal(err)
			}
		}
		for shown := (ec2.Volume{}); shown.Type != "gp2"; {
			var err error
			if shown, _, err = client.Volume(t.Context(), v.Handle); err != nil {
				t.Fatal(err)
			}
		}
		req := request("v", 1)
		req.Parameters = map[string]string{"type": "gp3"}
		if again, err := c.backend().Create(t.Context(), req); err != nil || again.Handle != v.Handle {
			t.Errorf("seed %d: %v, %v", seed, again.Handle, err)
		}
	}
}

func TestIOPS_AreCutToWhatTheSizeAllows(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	for i, tc := range []struct {
		parameters map[string]string
		gib        int64
		want       int32
	}{
		{map[string]string{"iops": "16000"}, 10, 5000},
		{map[string]string{"iops": "16000"}, 1, 3000},
		{map[string]string{"type": "io1", "iops": "16000"}, 10, 500},
		{map[string]string{"type": "io2", "iops": "999999"}, 1000, 256000},
	} {
		req := request(fmt.Sprint("v", i), tc.gib)
		req.Parameters = tc.parameters
		v, err := b.Create(t.Context(), req)
		if err != nil || c.volume(v.Handle).IOPS != tc.want {
			t.Errorf("%v at %d GiB: %d iops, %v; want %d", tc.parameters, tc.gib, c.volume(v.Handle).IOPS, err, tc.want)
		}
	}
	v := mustCreateTen(t, b)
	if err := b.Modify(t.Context(), v.Handle, map[string]string{"iops": "79999"}); err != nil || c.volume(v.Handle).IOPS != 5000 {
		t.Errorf("modified: %d iops, %v", c.volume(v.Handle).IOPS, err)
	}
}

func TestExpand_NeverTakesIOPSAway(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	req := request("v", 10)
	req.Parameters = map[string]string{"type": "io2", "iopsPerGB": "50", "allowAutoIOPSIncreaseOnModify": "true"}
	v, err := b.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.client().ModifyVolume(t.Context(), v.Handle, ec2.Change{IOPS: 3000}); err != nil { // by hand, so that the ratio is still remembered
		t.Fatal(err)
	}
	if _, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 20 * volume.GiB}); err != nil || c.volume(v.Handle).IOPS != 3000 {
		t.Errorf("%d iops after growth, %v", c.volume(v.Handle).IOPS, err)
	}
	if err := b.Modify(t.Context(), v.Handle, map[string]string{"iops": "600"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 30 * volume.GiB}); err != nil || c.volume(v.Handle).IOPS != 600 {
		t.Errorf("%d iops after they were set and the volume grew, %v", c.volume(v.Handle).IOPS, err)
	}
}

// TestModify_ARefusedClassDoesNotRefuseTheGrowthBesideIt: Kubernetes' resizer would never try it again.
func TestModify_ARefusedClassDoesNotRefuseTheGrowthBesideIt(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreateTen(t, b)
	var both sync.WaitGroup
	both.Go(func() {
		if size, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 15 * volume.GiB}); err != nil || size != 15*volume.GiB {
			t.Errorf("Expand = %d, %v", size, err)
		}
	})
	both.Go(func() {
		err := b.Modify(t.Context(), v.Handle, map[string]string{"type": "st1"})
		if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Pending) { // pending: EC2 looks at what is under way first
			t.Errorf("Modify = %v", err)
		}
	})
	both.Wait()
	if now := c.volume(v.Handle); now.SizeGiB != 15 || now.Type != "gp3" {
		t.Errorf("%d GiB of %s", now.SizeGiB, now.Type)
	}
}

func TestListSnapshots_AnImportedSnapshotIsFoundByItsID(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	id := c.foreign(map[string]string{"Name": "made by hand"})
	snap, err := c.client().CreateSnapshot(t.Context(), id, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, filter := range map[string]volume.SnapshotFilter{"by id": {ID: snap.ID}, "by source": {Source: id}, "all": {}} {
		list, _, err := b.ListSnapshots(t.Context(), filter, volume.Page{})
		if err != nil || len(list) != 1 || list[0].ID != snap.ID || !list[0].Ready {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
	if err := b.DeleteSnapshot(t.Context(), snap.ID); !fault.Is(err, fault.InUse) {
		t.Errorf("and it is not ours to delete: %v", err)
	}
}

// TestPublish_TellsTheNodeThatAVolumeHasASource: the volume contexts of the EBS CSI driver do not.
func TestPublish_TellsTheNodeThatAVolumeHasASource(t *testing.T) {
	t.Parallel()
	const peer = "ebs.csi.aws.com"
	c := instant(t)
	b := c.backendWith(ebs.Options{Owner: backend.Owner{Driver: peer}})
	snap, err := c.client().CreateSnapshot(t.Context(), mustCreate(t, b, "v").Handle, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := c.client().CreateVolume(t.Context(), ec2.VolumeSpec{
		Zone: "us-east-1a", Type: "gp3", SizeGiB: 1, Snapshot: snap.ID, Tags: map[string]string{ebs.TagVolumeName: "pvc-2", peer + "/cluster": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]string{"partition": "", volume.ContextProvisioner: "1-2-" + peer}
	for id, format := range map[string]bool{c.foreign(nil): true, restored.ID: false} {
		for range 2 { // attached now, and found attached
			out, err := b.Publish(t.Context(), volume.PublishRequest{Handle: id, Node: c.node(0), Capability: writer, Context: peers})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := volume.NewPlan(volume.PlanRequest{Handle: id, Context: peers, Publish: out, Capability: writer})
			if err != nil || plan.(volume.BlockPlan).MayFormat != format {
				t.Errorf("%+v, %v: want may format %v", plan, err, format)
			}
		}
	}
}

// TestPublish_ReadsTheContextAsTheNodeDoes: a volume that its node would refuse is not attached.
func TestPublish_ReadsTheContextAsTheNodeDoes(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	id := mustCreate(t, b, "v").Handle
	for _, key := range []string{"blockAttachUntilInitialised", "encryptInTransit"} {
		_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: id, Node: c.node(0), Capability: writer, Context: map[string]string{key: "true"}})
		if !fault.Is(err, fault.Invalid) || c.count("AttachVolume") > 0 {
			t.Errorf("%s: %v", key, err)
		}
	}
	_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: id, Node: c.node(0), Capability: writer, Context: map[string]string{"blockAttachUntilInitialized": "true"}})
	if err != nil {
		t.Errorf("in another case: %v", err)
	}
}

func TestPublish_WaitsUntilTheVolumeIsFilled(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	snap, err := b.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "s", Source: mustCreate(t, b, "v").Handle})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetSpeed(0); err != nil {
		t.Fatal(err)
	}
	req := request("restored", 1)
	req.Source.Snapshot = snap.ID
	req.Parameters = map[string]string{"volumeInitializationRate": "100", "blockAttachUntilInitialized": "true"}
	v, err := b.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	publish := volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: writer, Context: v.Context}
	for _, passed := range []time.Duration{0, 5 * time.Second} { // EC2 says nothing yet, and then half of it
		if err := c.Advance(t.Context(), passed); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := b.Publish(ctx, publish)
		cancel()
		if !fault.Is(err, fault.Pending) {
			t.Errorf("after %v: %v", passed, err)
		}
	}
	if err := c.Advance(t.Context(), 6*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), publish); err != nil || c.count("AttachVolume") != 1 {
		t.Errorf("filled: %v, %d attached", err, c.count("AttachVolume"))
	}
	out, err := c.sdk().DescribeVolumeStatus(t.Context(), &sdk.DescribeVolumeStatusInput{VolumeIds: []string{v.Handle}})
	if err != nil || sdkaws.ToInt64(out.VolumeStatuses[0].InitializationStatusDetails.Progress) != 100 {
		t.Errorf("%+v, %v", out, err)
	}
}
