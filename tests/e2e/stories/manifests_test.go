package stories

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestManifests takes the project's examples as they are, in the order in which they build on each other.
func TestManifests(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(s.manifest("pod-ebs.yaml"), s.manifest("block-ebs.yaml"))
	s.running("writer")
	s.running("raw-writer")
	day := s.sh("writer", "tail -1 /data/log")
	if !strings.Contains(day, ":") {
		s.Errorf("the pod wrote %q", day)
	}
	s.sh("writer", "sync")
	s.apply(s.manifest("snapshot-ebs.yaml"))
	s.apply(pod("reader", "data-restored"))
	s.running("reader")
	if got := s.sh("reader", "tail -1 /data/log"); got != day {
		s.Errorf("the restored volume has %q, want %q", got, day)
	}
	s.apply(s.manifest("modify-ebs.yaml"))
	s.eventually("faster volume", func(context.Context) error {
		if d := s.disk("data"); d.IOPS != 4000 {
			return fmt.Errorf("it does %d operations per second", d.IOPS)
		}
		return nil
	})
	s.Cleanup(func() {
		_, _ = here.Kubectl(context.Background(), "", "delete", "--wait=false", "volumesnapshotclass/diskbridge-ebs", "volumeattributesclass/diskbridge-ebs-fast")
	})
}

// TestStaticManifest brings a volume that exists already, here one that an earlier claim left.
func TestStaticManifest(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(`apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: retained}
provisioner: ebs.csi.diskbridge.io
reclaimPolicy: Retain
volumeBindingMode: WaitForFirstConsumer`, claim("old", "10Gi", "storageClassName: retained"), pod("writer", "old", on(nodes("us-east-1a")[0])))
	s.Cleanup(func() { _, _ = here.Kubectl(context.Background(), "", "delete", "storageclass", "retained") })
	s.running("writer")
	s.writes("writer", "treasure")
	d, pv := s.disk("old"), s.kubectl("get", "pvc", "old", "-o", "jsonpath={.spec.volumeName}")
	s.kubectl("delete", "pod,pvc", "--all")
	s.kubectl("delete", "pv", pv)

	static := s.manifest("static-ebs.yaml")
	static = strings.NewReplacer("vol-0123456789abcdef0", d.ID, "namespace: default", "namespace: "+s.ns).Replace(static)
	s.apply(static, pod("reader", "existing"))
	s.running("reader")
	s.reads("reader", "treasure")
	// It goes with this claim: the driver made it, so that it may delete it.
	s.kubectl("patch", "pv", "existing", "-p", `{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`)
}

// TestManifests_Complete fails for an example that no story applies.
func TestManifests_Complete(t *testing.T) {
	for kind, applied := range map[string]int{"ebs": 6, "efs": 3, "s3": 2} {
		files, err := filepath.Glob(here.Paths.Root + "/manifests/*-" + kind + ".yaml")
		if err != nil || len(files) != applied {
			t.Errorf("%v, %v: apply a new example in a story, and count it here", files, err)
		}
	}
}
