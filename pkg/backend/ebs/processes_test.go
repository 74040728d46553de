package ebs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestCreate_ARepetitionOutlivesItsSource(t *testing.T) {
	t.Parallel()
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

// TestCreate_TheNameOutlivesTheToken: EC2 forgets client tokens after some hours.
func TestCreate_TheNameOutlivesTheToken(t *testing.T) {
	t.Parallel()
	c := instant(t)
	first := mustCreate(t, c.backend(), "v")
	if err := c.Advance(t.Context(), 13*time.Hour); err != nil {
		t.Fatal(err)
	}
	if again := mustCreate(t, c.backend(), "v"); again.Handle != first.Handle || len(c.ours()) != 1 {
		t.Errorf("%s is answered after %s; there are %v", again.Handle, first.Handle, c.ours())
	}
}

// TestCreate_ADeletedVolumeIsNotAnsweredAgain: another process made the volume, so that its token is the next one here.
func TestCreate_ADeletedVolumeIsNotAnsweredAgain(t *testing.T) {
	t.Parallel()
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

// TestCreate_ANameComesAgainRightAfterAnotherProcessDeletedIt: its token answers the deleted volume, and nothing tells
// this process of the deletion.
func TestCreate_ANameComesAgainRightAfterAnotherProcessDeletedIt(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b, other := c.backend(), c.backend()
	first := mustCreate(t, b, "v")
	if _, err := other.Delete(t.Context(), first.Handle); err != nil {
		t.Fatal(err)
	}
	second := mustCreate(t, b, "v")
	if left := c.ours(); len(left) != 1 || left[0] != second.Handle {
		t.Errorf("left is %v, answered was %s after %s was deleted", left, second.Handle, first.Handle)
	}
}

func TestExpand_AVolumeThatAnotherProcessHasGrownIsNotRefused(t *testing.T) {
	t.Parallel()
	c := lagging(t, 1)
	b := c.backend()
	v := mustCreate(t, b, "v")
	if err := c.client().ModifyVolume(t.Context(), v.Handle, ec2.Change{SizeGiB: 5}); err != nil {
		t.Fatal(err)
	}
	size, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 3 * volume.GiB})
	if err != nil || size != 5*volume.GiB {
		t.Errorf("Expand = %d bytes, %v", size, err)
	}
}

// TestUnpublish_BelievesNoOldView: another process has just attached the volume, and EC2 may not show it yet.
func TestUnpublish_BelievesNoOldView(t *testing.T) {
	t.Parallel()
	for _, everywhere := range []bool{true, false} {
		for seed := range int64(4) {
			t.Run(fmt.Sprintf("everywhere %t, seed %d", everywhere, seed), func(t *testing.T) {
				t.Parallel()
				c := lagging(t, seed)
				b, from := c.backend(), ""
				if !everywhere {
					from = c.node(0)
				}
				v := mustCreate(t, b, "v")
				attach := func() error { return c.client().AttachVolume(t.Context(), v.Handle, c.node(0), "/dev/xvdcz") }
				err := attach()
				for fault.CodeOf(err) == "InvalidVolume.NotFound" { // until EC2 knows it everywhere
					err = attach()
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := again(func() error { return b.Unpublish(t.Context(), v.Handle, from) }); err != nil {
					t.Fatal(err)
				}
				if held := c.State().Volumes[0].Attachments; len(held) > 0 {
					t.Errorf("Unpublish answered OK while EC2 holds %+v", held)
				}
			})
		}
	}
}

// TestFresh_EC2DeniesWhatAnotherProcessHasJustMade: every call waits, within its deadline, until EC2 knows it everywhere.
func TestFresh_EC2DeniesWhatAnotherProcessHasJustMade(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(c *cloud, b *ebs.Backend, id string) error{
		"get": func(c *cloud, b *ebs.Backend, id string) error { _, err := b.Get(c.t.Context(), id); return err },
		"publish": func(c *cloud, b *ebs.Backend, id string) error {
			_, err := publish(c.t, b, id, c.node(0))
			return err
		},
		"unpublish": func(c *cloud, b *ebs.Backend, id string) error { return b.Unpublish(c.t.Context(), id, c.node(0)) },
		"expand": func(c *cloud, b *ebs.Backend, id string) error {
			_, err := b.Expand(c.t.Context(), id, volume.Range{RequiredBytes: 2 * volume.GiB})
			return err
		},
		"modify": func(c *cloud, b *ebs.Backend, id string) error {
			return b.Modify(c.t.Context(), id, map[string]string{"tagSpecification_1": "team=storage"})
		},
		"snapshot": func(c *cloud, b *ebs.Backend, id string) error {
			_, err := b.CreateSnapshot(c.t.Context(), volume.SnapshotRequest{Name: "s", Source: id})
			return err
		},
		"clone": func(c *cloud, b *ebs.Backend, id string) error {
			req := request("clone", 1)
			req.Source.Volume = id
			_, err := b.Create(c.t.Context(), req)
			return err
		},
		"restore": func(c *cloud, b *ebs.Backend, id string) error {
			made, err := c.client().CreateSnapshot(c.t.Context(), id, "", map[string]string{ebs.TagCluster: cluster})
			if err != nil {
				return nil //nolint:nilerr // denied: another seed
			}
			req := request("restored", 1)
			req.Source.Snapshot = made.ID
			_, err = b.Create(c.t.Context(), req)
			return err
		},
		"delete": func(c *cloud, b *ebs.Backend, id string) error { _, err := b.Delete(c.t.Context(), id); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range int64(3) {
				c := lagging(t, seed)
				id := c.foreign(map[string]string{ebs.TagCluster: cluster})
				if err := ask(c, c.backend(), id); err != nil {
					t.Errorf("seed %d: %v (%v)", seed, err, fault.KindOf(err))
				}
			}
		})
	}
}
