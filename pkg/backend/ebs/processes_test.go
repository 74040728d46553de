package ebs_test

import (
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// lagging is a cloud whose views show the past for up to a second; with the seed, long enough for these tests.
func lagging(t *testing.T, seed int64) *cloud {
	return newCloud(t, emulator.Options{Window: time.Second, Seed: seed}, 1200*time.Millisecond)
}

func TestCreate_ARepetitionOutlivesItsSource(t *testing.T) {
	c := instant(t)
	b := c.backend()
	source := mustCreate(t, b, "source")
	snap, err := b.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "s", Source: source.Handle})
	if err != nil {
		t.Fatal(err)
	}
	req := request("restored", 1)
	req.Source.Snapshot = snap.ID
	made, err := b.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteSnapshot(t.Context(), snap.ID); err != nil {
		t.Fatal(err)
	}
	again, err := c.backend().Create(t.Context(), req)
	if err != nil || again.Handle != made.Handle || again.Source != made.Source || again.Context[volume.ContextMayFormat] != "false" {
		t.Errorf("asked again: %+v, %v; want %+v", again, err, made)
	}
	req.Range.RequiredBytes = 2 * volume.GiB
	if _, err := b.Create(t.Context(), req); !fault.Is(err, fault.Conflict) {
		t.Errorf("another size: %v, want a conflict", err)
	}
	req.Name = "new"
	if _, err := b.Create(t.Context(), req); !fault.Is(err, fault.NotFound) {
		t.Errorf("a new volume of it: %v, want not found", err)
	}
}

// TestCreate_ADeletedVolumeIsNotAnsweredAgain: another process made the volume, so that its token is the next one here.
func TestCreate_ADeletedVolumeIsNotAnsweredAgain(t *testing.T) {
	c := lagging(t, 1)
	b, other := c.backend(), c.backend()
	first := mustCreate(t, b, "v")
	if _, err := other.Delete(t.Context(), first.Handle); err != nil {
		t.Fatal(err)
	}
	for client, shown := c.client(), true; shown; { // until then nothing tells this process of the deletion
		var err error
		if _, shown, err = client.Volume(t.Context(), first.Handle); err != nil {
			t.Fatal(err)
		}
	}
	second := mustCreate(t, other, "v")
	if _, err := b.Delete(t.Context(), second.Handle); err != nil {
		t.Fatal(err)
	}
	third := mustCreate(t, b, "v")
	if third.Handle == first.Handle || third.Handle == second.Handle {
		t.Errorf("%s is answered after %s and %s were deleted", third.Handle, first.Handle, second.Handle)
	}
	if left := c.ours(); len(left) != 1 || left[0] != third.Handle {
		t.Errorf("left is %v, answered was %s", left, third.Handle)
	}
}

func TestExpand_AVolumeThatAnotherProcessHasGrownIsNotRefused(t *testing.T) {
	c := lagging(t, 1)
	b := c.backend()
	v := mustCreate(t, b, "v")
	if err := c.client().ModifyVolume(t.Context(), v.Handle, ec2.Change{SizeGiB: 5}); err != nil {
		t.Fatal(err)
	}
	for {
		size, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 3 * volume.GiB})
		if err == nil {
			if size != 5*volume.GiB {
				t.Errorf("expanded to %d bytes", size)
			}
			return
		}
		if !fault.Is(err, fault.Pending) {
			t.Fatalf("Expand = %v (%v)", err, fault.KindOf(err))
		}
	}
}

func TestUnpublish_EverywhereBelievesNoOldView(t *testing.T) {
	c := lagging(t, 1)
	b := c.backend()
	v := mustCreate(t, b, "v")
	if err := c.client().AttachVolume(t.Context(), v.Handle, c.node(0), "/dev/xvdcz"); err != nil {
		t.Fatal(err)
	}
	if err := b.Unpublish(t.Context(), v.Handle, ""); err != nil {
		t.Fatal(err)
	}
	if held := c.State().Volumes[0].Attachments; len(held) > 0 {
		t.Errorf("Unpublish answered OK while EC2 holds %+v", held)
	}
}
