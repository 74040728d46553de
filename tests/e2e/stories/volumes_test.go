package stories

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClaimToPod(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"us-east-1a", "us-east-1b"} {
		t.Run("the volume is made in the pod's zone "+zone, func(t *testing.T) {
			t.Parallel()
			s := tell(t)
			s.apply(claim("data", "1Gi"), pod("writer", "data", "nodeSelector: {topology.kubernetes.io/zone: "+zone+"}"))
			node := s.running("writer")
			s.writes("writer", "hello")
			s.reads("writer", "hello")
			d := s.disk("data")
			if d.Zone != zone || fmt.Sprint(d.holders()) != fmt.Sprint([]string{node}) {
				s.Errorf("the volume is in %s at %v; the pod in %s on %s", d.Zone, d.holders(), zone, node)
			}
		})
	}
}

func TestDataSurvives(t *testing.T) {
	t.Parallel()
	s := tell(t)
	there := nodes("us-east-1a")
	s.apply(claim("data", "1Gi"), pod("first", "data", on(there[0])))
	s.running("first")
	s.writes("first", "kept")
	s.kubectl("delete", "pod", "first")

	s.apply(pod("again", "data", on(there[0])))
	s.running("again")
	s.reads("again", "kept")
	s.kubectl("delete", "pod", "again")

	s.apply(pod("elsewhere", "data", on(there[1])))
	s.running("elsewhere")
	s.reads("elsewhere", "kept")
	if holders := s.disk("data").holders(); fmt.Sprint(holders) != fmt.Sprint(there[1:2]) {
		s.Errorf("the volume is attached to %v, want %s alone", holders, there[1])
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(claim("data", "1Gi"), pod("writer", "data"))
	s.running("writer")
	s.writes("writer", "yesterday")
	s.apply(`apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: backup}
spec: {volumeSnapshotClassName: ebs, source: {persistentVolumeClaimName: data}}`)
	s.kubectl("wait", "volumesnapshot/backup", "--for=jsonpath={.status.readyToUse}=true", "--timeout="+patience.String())
	s.writes("writer", "today")

	s.apply(claim("restored", "2Gi", "dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: backup}"), pod("reader", "restored"))
	s.running("reader")
	s.reads("reader", "yesterday")
	s.reads("writer", "today")
	if size := s.sh("reader", "df -Pk /data | tail -1 | awk '{print $2}'"); len(size) < 7 || size < "19" {
		s.Errorf("the restored file system has %s KiB; it should have grown to 2 GiB", size)
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(claim("data", "1Gi"), pod("writer", "data"))
	s.running("writer")
	s.writes("writer", "original")
	s.apply(claim("copy", "1Gi", "dataSource: {kind: PersistentVolumeClaim, name: data}"), pod("reader", "copy"))
	s.running("reader")
	s.reads("reader", "original")
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(claim("data", "1Gi"), pod("writer", "data"))
	s.running("writer")
	s.writes("writer", "before")
	s.kubectl("patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}`)
	s.eventually("the claim has 3Gi", func(ctx context.Context) error {
		pvc, err := here.Client.CoreV1().PersistentVolumeClaims(s.ns).Get(ctx, "data", metav1.GetOptions{})
		if err == nil && pvc.Status.Capacity.Storage().String() != "3Gi" {
			err = fmt.Errorf("it has %s, %v", pvc.Status.Capacity.Storage(), pvc.Status.Conditions)
		}
		return err
	})
	if size := s.sh("writer", "df -Pm /data | tail -1 | awk '{print $2}'"); len(size) != 4 || size < "29" {
		s.Errorf("the pod sees %s MiB, want nearly 3072", size)
	}
	s.reads("writer", "before")
	if restarts := s.kubectl("get", "pod", "writer", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); restarts != "0" {
		s.Errorf("the pod was restarted %s times", restarts)
	}
}

func TestRawBlock(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(claim("raw", "1Gi", "volumeMode: Block"),
		strings.Replace(pod("writer", "raw"), "volumeMounts: [{name: data, mountPath: /data}]", "volumeDevices: [{name: data, devicePath: /dev/disk}]", 1))
	s.running("writer")
	s.sh("writer", "echo bytes | dd of=/dev/disk bs=512 seek=1000 conv=sync,fsync")
	if got := s.sh("writer", "dd if=/dev/disk bs=512 skip=1000 count=1 | head -c 5"); got != "bytes" {
		s.Errorf("the device has %q", got)
	}
	if got := s.sh("writer", "blockdev --getsize64 /dev/disk"); got != "1073741824" {
		s.Errorf("the device has %s bytes", got)
	}
}

func TestModify(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(`apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: fast}
driverName: ebs.csi.diskbridge.io
parameters: {iops: "4000"}`)
	s.Cleanup(func() {
		_, _ = here.Kubectl(context.Background(), "", "delete", "volumeattributesclass", "fast", "--wait=false")
	})
	s.apply(claim("data", "10Gi"), pod("writer", "data"))
	s.running("writer")
	s.kubectl("patch", "pvc", "data", "-p", `{"spec":{"volumeAttributesClassName":"fast"}}`)
	s.kubectl("wait", "pvc/data", "--for=jsonpath={.status.currentVolumeAttributesClassName}=fast", "--timeout="+patience.String())
	if iops := s.disk("data").IOPS; iops != 4000 {
		s.Errorf("the volume has %d IOPS", iops)
	}
}

func TestMultiAttach(t *testing.T) {
	t.Parallel()
	s := tell(t)
	there := nodes("us-east-1a")
	s.apply(claim("data", "1Gi"), pod("first", "data", on(there[0])))
	s.running("first")
	s.writes("first", "moved")
	s.apply(pod("second", "data", on(there[1])))
	s.event("second", "Multi-Attach error")
	s.kubectl("delete", "pod", "first")
	s.running("second")
	s.reads("second", "moved")
}
