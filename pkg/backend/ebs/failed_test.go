package ebs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// failsLater makes the cloud accept the next call of an operation, and fail what it began.
func (c *cloud) failsLater(operation string) {
	c.t.Helper()
	c.fault(emulator.Fault{Operation: operation, Nth: 1, Effect: faults.FailLater})
}

// TestModification_Failed: EC2 accepted it, then gave it up. The volume is as it was, and the caller is told so. BOSH's next
// attempt is judged by itself, even while EC2 still shows the failed one: a user has started it.
func TestModification_Failed(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]volume.DiskChange{
		"resize_disk": {Bytes: 20 * volume.GiB},
		"update_disk": {Bytes: 20 * volume.GiB, Parameters: map[string]string{"iops": "4000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, emulator.Options{Window: 400 * time.Millisecond, Seed: 3}, 600*time.Millisecond)
			id := c.create(t, volume.DiskRequest{Bytes: 10 * volume.GiB, Node: c.node(0)})
			c.failsLater("ModifyVolume")
			_, err := c.disks().ChangeDisk(t.Context(), id, row)
			if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "which is as it was: The modification failed") {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
			if got := c.shapeOf(id); got != "gp3 10 3000" {
				t.Errorf("it has become %s", got)
			}
			if _, err := c.disks().ChangeDisk(t.Context(), id, row); err != nil {
				t.Errorf("the next attempt: %v", err)
			}
			if got := c.shapeOf(id); got == "gp3 10 3000" || c.count("ModifyVolume") != 2 {
				t.Errorf("it is %s after %d calls", got, c.count("ModifyVolume"))
			}
		})
	}
}

// shapeOf is what the volume truly has.
func (c *cloud) shapeOf(id string) string {
	for _, v := range c.State().Volumes {
		if v.ID == id {
			return fmt.Sprint(v.Type, " ", v.SizeGiB, " ", v.IOPS)
		}
	}
	return "gone"
}

// TestVolume_Failed: a volume that ends in error is nobody's disk. BOSH's, which no name finds again, is deleted.
func TestVolume_Failed(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	c.speed(10)
	c.failsLater("CreateVolume")
	_, err := c.disks().CreateDisk(t.Context(), volume.DiskRequest{Bytes: volume.GiB, Node: c.node(0)})
	if !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "the disk was deleted again") {
		t.Errorf("%v", err)
	}
	for _, v := range c.State().Volumes {
		if v.State != "deleting" {
			t.Errorf("%s is left in state %s", v.ID, v.State)
		}
	}
}

// TestCreate_AVolumeThatEndsInErrorIsReplaced: a claim's volume that EC2 ends in state "error" is found by its name again
// and again, and no other component deletes it.
func TestCreate_AVolumeThatEndsInErrorIsReplaced(t *testing.T) {
	t.Parallel()
	failing := func(t *testing.T, rules ...emulator.Fault) (*cloud, func(b *ebs.Backend) (volume.Volume, error)) {
		c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
		c.speed(10)
		c.fault(rules...)
		return c, func(b *ebs.Backend) (volume.Volume, error) { return b.Create(t.Context(), request("pvc", 1)) }
	}
	always := emulator.Fault{Operation: "CreateVolume", Effect: faults.FailLater}
	once := emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: faults.FailLater}
	t.Run("in the same call", func(t *testing.T) {
		t.Parallel()
		c, create := failing(t, once)
		v, err := create(c.backend())
		if err != nil || len(c.ours()) != 1 || c.ours()[0] != v.Handle || c.volume(v.Handle).State != ec2.StateAvailable {
			t.Errorf("%v, %v; in the cloud: %v", v.Handle, err, c.ours())
		}
	})
	t.Run("a clone", func(t *testing.T) {
		t.Parallel()
		c, create := failing(t)
		source, err := create(c.backend())
		if err != nil {
			t.Fatal(err)
		}
		c.fault(emulator.Fault{Operation: "CopyVolumes", Nth: 1, Effect: faults.FailLater})
		req := request("clone", 1)
		req.Source.Volume, req.Topology = source.Handle, volume.Requirement{}
		v, err := c.backend().Create(t.Context(), req)
		if err != nil || len(c.ours()) != 2 || c.volume(v.Handle).State != ec2.StateAvailable {
			t.Errorf("%v, %v; in the cloud: %v", v.Handle, err, c.ours())
		}
	})
	t.Run("found by another process", func(t *testing.T) {
		t.Parallel()
		c, create := failing(t, once, emulator.Fault{Operation: "DeleteVolume", Nth: 1, Effect: faults.Refuse, Code: "UnauthorizedOperation"})
		if _, err := create(c.backend()); !fault.Is(err, fault.UnknownOutcome) || !strings.Contains(err.Error(), "could not be deleted") {
			t.Errorf("a deletion that is refused: %v (%v); a final code would let the claim go and the volume stay", err, fault.KindOf(err))
		}
		v, err := create(c.backend())
		if err != nil || len(c.ours()) != 1 || c.volume(v.Handle).State != ec2.StateAvailable {
			t.Errorf("%v, %v; in the cloud: %v", v.Handle, err, c.ours())
		}
	})
	t.Run("a few times in a call, and nothing is left", func(t *testing.T) {
		t.Parallel()
		c, create := failing(t, always)
		b := c.backend()
		for call := 1; call <= 2; call++ {
			_, err := create(b)
			if !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "they were deleted") || len(c.ours()) != 0 || c.count("CreateVolume") != 3*call {
				t.Errorf("call %d: %v (%v); %d volumes made, left %v", call, err, fault.KindOf(err), c.count("CreateVolume"), c.ours())
			}
		}
		c.ClearFaults()
		if v, err := create(b); err != nil || len(c.ours()) != 1 {
			t.Errorf("afterwards: %v, %v", v.Handle, err)
		}
	})
	t.Run("never one that was handed over or is another's", func(t *testing.T) {
		t.Parallel()
		for name, tags := range map[string]map[string]string{
			"adopted":            {ebs.TagCluster: cluster, ebs.TagVolumeName: "pvc", ebs.TagAdopted: "external"},
			"held by Kubernetes": {ebs.TagCluster: cluster, ebs.TagVolumeName: "pvc", ebs.TagHolder: "kubernetes:" + cluster + "/pv"},
			"held by BOSH":       {ebs.TagCluster: cluster, ebs.TagVolumeName: "pvc", ebs.TagHolder: "bosh:d"},
		} {
			c, create := failing(t, once)
			id := c.foreign(tags)
			for c.volume(id).State == ec2.StateCreating {
				<-time.After(20 * time.Millisecond)
			}
			if _, err := create(c.backend()); !fault.Is(err, fault.Internal) || c.count("DeleteVolume") != 0 {
				t.Errorf("%s: %v, %d deletions", name, err, c.count("DeleteVolume"))
			}
		}
	})
}

// TestSnapshot_Failed: a snapshot that ends in error is never taken for one that is ready.
func TestSnapshot_Failed(t *testing.T) {
	t.Parallel()
	t.Run("snapshot_disk that waits deletes what the Director will never know", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		c.failsLater("CreateSnapshot")
		_, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: id, Complete: true})
		if !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "could not complete the snapshot; it was deleted again") {
			t.Errorf("%v", err)
		}
		if n := len(c.State().Snapshots); n != 0 {
			t.Errorf("%d snapshots are left", n)
		}
	})
	t.Run("and says where it is when it cannot", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		c.failsLater("CreateSnapshot")
		c.fault(emulator.Fault{Operation: "DeleteSnapshot", Effect: faults.Refuse, Code: "UnauthorizedOperation"})
		_, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: id, Complete: true})
		list, listErr := ebs.NewKeeper(c.client()).Orphans(t.Context())
		if listErr != nil || !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "see `diskbridge orphans`") ||
			len(list) != 2 || list[1].State != "error" {
			t.Errorf("%v; %+v, %v", err, list, listErr)
		}
	})
	t.Run("snapshot_disk that does not wait answers a snapshot that can be deleted", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		c.failsLater("CreateSnapshot")
		s, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.disks().DeleteDiskSnapshot(t.Context(), s.Handle); err != nil || len(c.State().Snapshots) != 0 {
			t.Errorf("%v; left %v", err, c.State().Snapshots)
		}
	})
	t.Run("of Kubernetes is an error, not ready, deletable, and its name is free then", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		b := c.backend()
		v := mustCreate(t, b, "pvc")
		req := volume.SnapshotRequest{Name: "snap", Source: v.Handle}
		c.failsLater("CreateSnapshot")
		first, err := b.CreateSnapshot(t.Context(), req)
		if err != nil || first.Ready {
			t.Fatalf("%+v, %v", first, err)
		}
		if again, err := c.backend().CreateSnapshot(t.Context(), req); !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "delete it and take another") {
			t.Errorf("%+v, %v", again, err)
		}
		list, _, err := b.ListSnapshots(t.Context(), volume.SnapshotFilter{ID: first.ID}, volume.Page{})
		if err != nil || len(list) != 1 || list[0].Ready {
			t.Errorf("%+v, %v", list, err)
		}
		if err := b.DeleteSnapshot(t.Context(), first.ID); err != nil {
			t.Fatal(err)
		}
		if again, err := b.CreateSnapshot(t.Context(), req); err != nil || again.ID == first.ID {
			t.Errorf("after the deletion: %+v, %v", again, err)
		}
	})
}
