package ebs_test

import (
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
)

func BenchmarkParameters_Decode(b *testing.B) {
	raw := map[string]string{
		"type": "gp3", "iops": "4000", "throughput": "250", "encrypted": "true", "tagSpecification_1": "team=storage",
		"csi.storage.k8s.io/fstype": "xfs", "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "default",
	}
	for b.Loop() {
		if _, err := ebs.Parameters().Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
