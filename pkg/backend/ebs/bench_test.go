package ebs_test

import (
	"fmt"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
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
			req := volume.PublishRequest{Handle: p.volume.ID, Node: anInstance, Capability: writer}
			b.ReportAllocs()
			for b.Loop() {
				if !attached {
					p.volume.Attachments, p.onInstance = nil, nil
				}
				if _, err := disks.Publish(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
