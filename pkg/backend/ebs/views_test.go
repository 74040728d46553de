package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const anInstance = "i-0123456789abcdef0"

// prompt is an EC2 with one volume and one instance, which does at once what it is asked for: what remains is the
// backend's own work. Its two views of the attachment may disagree.
type prompt struct {
	ebs.API

	volume     ec2.Volume
	onInstance []ec2.Attachment // as DescribeInstances shows it
	change     ec2.Change       // the modification
	lag        int              // how many more times a view shows what was before a detachment or a modification
	snapshots  []ec2.Snapshot
	attached   int // calls
	deleted    int
}

func newPrompt() (*prompt, *ebs.Backend) {
	p := &prompt{volume: ec2.Volume{ID: "vol-0123456789abcdef0", Type: "gp3", SizeGiB: 10, Zone: "us-east-1a", State: ec2.StateAvailable}}
	return p, ebs.New(p, ebs.Options{Owner: backend.Owner{Driver: ebs.DefaultDriver, Cluster: cluster}})
}

func (p *prompt) AbsenceInterval() time.Duration { return time.Second }

func (p *prompt) Zones(context.Context) ([]ec2.Zone, error) {
	return []ec2.Zone{{Name: "us-east-1a"}}, nil
}

func (p *prompt) VolumesTagged(context.Context, string, string) ([]ec2.Volume, error) {
	return nil, nil
}

func (p *prompt) CreateVolume(_ context.Context, spec ec2.VolumeSpec) (ec2.Volume, error) {
	v := p.volume
	v.Tags = spec.Tags
	return v, nil
}

func (p *prompt) Volume(context.Context, string) (ec2.Volume, bool, error) {
	now := p.volume
	if p.lag--; p.lag <= 0 {
		p.volume.SizeGiB = max(p.volume.SizeGiB, p.change.SizeGiB)
	}
	return now, true, nil
}

func (p *prompt) ModifyVolume(_ context.Context, _ string, change ec2.Change) error {
	p.change = change
	return nil
}

func (p *prompt) Modification(context.Context, string) (ec2.Modification, bool, error) {
	return ec2.Modification{State: "optimizing", Target: p.change}, true, nil
}

func (p *prompt) AskInstance(id string) func(context.Context) (ec2.Instance, bool, error) {
	return func(ctx context.Context) (ec2.Instance, bool, error) {
		return p.Instance(ctx, id)
	}
}

func (p *prompt) Instance(_ context.Context, id string) (ec2.Instance, bool, error) {
	inst := ec2.Instance{ID: id, Zone: "us-east-1a", State: "running", Attachments: p.onInstance}
	if len(p.volume.Attachments) == 0 {
		if p.lag--; p.lag <= 0 {
			p.onInstance = nil
		}
	}
	return inst, true, nil
}

func (p *prompt) AttachVolume(_ context.Context, id, instance, device string) error {
	p.attached++
	p.volume.Attachments = []ec2.Attachment{{Volume: id, Instance: instance, Device: device, State: ec2.Attached}}
	p.onInstance = p.volume.Attachments
	return nil
}

func (p *prompt) DeleteVolume(context.Context, string) error {
	p.deleted++
	return nil
}

func (p *prompt) SnapshotsTagged(context.Context, string, string) ([]ec2.Snapshot, error) {
	return p.snapshots, nil
}

func (p *prompt) DetachVolume(context.Context, string, string, bool) error {
	p.volume.Attachments = nil
	return nil
}

// TestPublish_BelievesViewsThatAgree: one alone may show the past, and EC2 is asked.
func TestPublish_BelievesViewsThatAgree(t *testing.T) {
	for _, tc := range []struct{ volume, instance bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		t.Run(fmt.Sprintf("the volume shows it %t, the instance %t", tc.volume, tc.instance), func(t *testing.T) {
			p, disks := newPrompt()
			before := []ec2.Attachment{{Volume: p.volume.ID, Instance: anInstance, Device: "/dev/xvdzz", State: ec2.Attached}}
			if tc.volume {
				p.volume.Attachments = before
			}
			if tc.instance {
				p.onInstance = before
			}
			want := 1
			if tc.volume && tc.instance {
				want = 0
			}
			if _, err := disks.Publish(t.Context(), volume.PublishRequest{Handle: p.volume.ID, Node: anInstance, Capability: writer}); err != nil || p.attached != want {
				t.Errorf("asked %d times, want %d (%v)", p.attached, want, err)
			}
		})
	}
}

// TestUnpublish_WaitsForBothViews: that of the volume may show the time before the attachment.
func TestUnpublish_WaitsForBothViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, disks := newPrompt()
		if err := p.AttachVolume(t.Context(), p.volume.ID, anInstance, "/dev/xvdba"); err != nil {
			t.Fatal(err)
		}
		p.lag = 5
		if err := disks.Unpublish(t.Context(), p.volume.ID, anInstance); err != nil || len(p.onInstance) > 0 {
			t.Errorf("%v, while DescribeInstances shows %v", err, p.onInstance)
		}
	})
}

// TestExpand_WaitsUntilTheVolumeShowsIt: the modification is effective before.
func TestExpand_WaitsUntilTheVolumeShowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, disks := newPrompt()
		p.lag = 3
		if size, err := disks.Expand(t.Context(), p.volume.ID, volume.Range{RequiredBytes: 12 * volume.GiB}); err != nil || size != 12*volume.GiB {
			t.Errorf("%d bytes (%v), want 12 GiB", size, err)
		}
	})
}

// TestPublish_WhatAnotherNodeHolds: EC2 would let a volume with multi-attach go to a second node, whoever asks.
func TestPublish_WhatAnotherNodeHolds(t *testing.T) {
	together := volume.Capability{Mode: volume.MultiNodeMultiWriter, Block: true}
	for name, tc := range map[string]struct {
		multiAttach bool
		capability  volume.Capability
		attached    int
	}{
		"one that can only have one":           {false, writer, 0},
		"one that could have more, for one":    {true, writer, 0},
		"one that can have more, for many":     {true, together, 1},
		"one that can only have one, for many": {false, together, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, disks := newPrompt()
			p.volume.MultiAttach = tc.multiAttach
			p.volume.Attachments = []ec2.Attachment{{Volume: p.volume.ID, Instance: "i-00000000000000001", Device: "/dev/xvdba", State: ec2.Attached}}
			_, err := disks.Publish(t.Context(), volume.PublishRequest{Handle: p.volume.ID, Node: anInstance, Capability: tc.capability})
			if (err == nil) != (tc.attached == 1) || p.attached != tc.attached {
				t.Errorf("asked %d times, want %d (%v)", p.attached, tc.attached, err)
			}
		})
	}
}

// TestDelete_NeverAsksForWhatIsAttached: EC2 would refuse it too, without saying what to do.
func TestDelete_NeverAsksForWhatIsAttached(t *testing.T) {
	p, disks := newPrompt()
	p.volume.Tags = map[string]string{ebs.TagCluster: cluster}
	p.volume.Attachments = []ec2.Attachment{{Volume: p.volume.ID, Instance: anInstance, Device: "/dev/xvdba", State: ec2.Attached}}
	if _, err := disks.Delete(t.Context(), p.volume.ID); !fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), anInstance) || p.deleted != 0 {
		t.Errorf("asked %d times: %v", p.deleted, err)
	}
	p.volume.Attachments = nil
	if _, err := disks.Delete(t.Context(), p.volume.ID); err != nil || p.deleted != 1 {
		t.Errorf("asked %d times: %v", p.deleted, err)
	}
}

// TestCreateSnapshot_TheOldestOfOneName is the one that was answered first.
func TestCreateSnapshot_TheOldestOfOneName(t *testing.T) {
	p, disks := newPrompt()
	for _, second := range []int64{20, 10, 30} {
		p.snapshots = append(p.snapshots, ec2.Snapshot{
			ID: fmt.Sprint("snap-000000", second), Volume: p.volume.ID, State: "completed", Tags: map[string]string{ebs.TagCluster: cluster}, Started: time.Unix(second, 0),
		})
	}
	const oldest = "snap-00000010"
	if s, err := disks.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "s", Source: p.volume.ID}); err != nil || s.ID != oldest {
		t.Errorf("%s is answered, want %s (%v)", s.ID, oldest, err)
	}
}
