package ebs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func BenchmarkParameters_Decode(b *testing.B) {
	raw := map[string]string{
		"type": "gp3", "iops": "4000", "throughput": "250", "encrypted": "true", "tagSpecification_1": "team=storage",
		"csi.storage.k8s.io/fstype": "xfs", "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "default",
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ebs.Parameters().Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// prompt is an EC2 with one volume, which does at once what it is asked for: what remains is the backend's own work.
type prompt struct {
	ebs.API

	volume ec2.Volume
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
	return p.volume, true, nil
}

func (p *prompt) AskInstance(id string) func(context.Context) (ec2.Instance, bool, error) {
	return func(context.Context) (ec2.Instance, bool, error) {
		return ec2.Instance{ID: id, Zone: "us-east-1a", State: "running", Attachments: p.volume.Attachments}, true, nil
	}
}

func (p *prompt) AttachVolume(_ context.Context, id, instance, device string) error {
	p.volume.Attachments = []ec2.Attachment{{Volume: id, Instance: instance, Device: device, State: ec2.Attached}}
	return nil
}

func BenchmarkBackend_Create(b *testing.B) {
	_, disks := newPrompt()
	req := request("", 10)
	req.Parameters = map[string]string{"type": "gp3", "iops": "4000", "tagSpecification_1": "team={{ .PVCName }}", "csi.storage.k8s.io/pvc/name": "data"}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		req.Name = fmt.Sprint("pvc-", n)
		if _, err := disks.Create(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBackend_Publish(b *testing.B) {
	for name, attached := range map[string]bool{"new": false, "attached already": true} {
		b.Run(name, func(b *testing.B) {
			p, disks := newPrompt()
			req := volume.PublishRequest{Handle: p.volume.ID, Node: "i-0123456789abcdef0", Capability: writer}
			b.ReportAllocs()
			for b.Loop() {
				if !attached {
					p.volume.Attachments = nil
				}
				if _, err := disks.Publish(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
