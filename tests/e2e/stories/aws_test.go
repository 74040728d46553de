package stories

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

// disk is a volume as it is in AWS.
type disk struct {
	ID          string            `json:"id"`
	Zone        string            `json:"zone"`
	State       string            `json:"state"`
	SizeGiB     int               `json:"size_gib"`
	IOPS        int               `json:"iops"`
	Tags        map[string]string `json:"tags"`
	Attachments []struct {
		Instance string `json:"instance"`
	} `json:"attachments"`
}

// holders are the instances that have the disk.
func (d disk) holders() (names []string) {
	for _, a := range d.Attachments {
		names = append(names, a.Instance)
	}
	return names
}

// inAWS is what there is in AWS, by what it was made for; an empty namespace is all.
func inAWS(ctx context.Context, namespace string) (disks []disk, snapshots []string, err error) {
	var state struct {
		Volumes   []disk `json:"volumes"`
		Snapshots []struct {
			ID   string            `json:"id"`
			Tags map[string]string `json:"tags"`
		} `json:"snapshots"`
	}
	if err := cluster.Emulator(ctx, http.MethodGet, "state", "", &state); err != nil {
		return nil, nil, err
	}
	ours := func(tags map[string]string, kind string) bool {
		return namespace == "" || tags["kubernetes.io/created-for/"+kind+"/namespace"] == namespace
	}
	for _, v := range state.Volumes {
		if ours(v.Tags, "pvc") {
			disks = append(disks, v)
		}
	}
	for _, v := range state.Snapshots {
		if ours(v.Tags, "volumesnapshot") {
			snapshots = append(snapshots, v.ID)
		}
	}
	return disks, snapshots, nil
}

func nothingLeft(ctx context.Context, namespace string) error {
	disks, snapshots, err := inAWS(ctx, namespace)
	if err != nil {
		return err
	}
	files, err := fileSystems(ctx)
	maps.DeleteFunc(files, func(_ string, f fileSystem) bool {
		return namespace != "" && f.Tags["kubernetes.io/created-for/pvc/namespace"] != namespace
	})
	if err == nil && len(disks)+len(snapshots)+len(files) > 0 {
		err = fmt.Errorf("volumes %v, snapshots %v, file systems %v", disks, snapshots, files)
	}
	if buckets, wrong := buckets(ctx); namespace == "" && len(buckets) > 0 {
		err = errors.Join(err, wrong, fmt.Errorf("buckets %v", buckets))
	}
	return err
}

// disk is the volume behind a bound claim.
func (s *story) disk(claim string) disk {
	s.Helper()
	pvc, err := here.Client.CoreV1().PersistentVolumeClaims(s.ns).Get(s.Context(), claim, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	pv, err := here.Client.CoreV1().PersistentVolumes().Get(s.Context(), pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	disks, _, err := inAWS(s.Context(), "")
	if err != nil {
		s.Fatal(err)
	}
	n := slices.IndexFunc(disks, func(d disk) bool { return d.ID == pv.Spec.CSI.VolumeHandle })
	if n < 0 {
		s.Fatalf("AWS has no %s", pv.Spec.CSI.VolumeHandle)
	}
	return disks[n]
}

// fault makes AWS misbehave until the story's end.
func (s *story) fault(rules string) (repair func()) {
	s.Helper()
	if err := cluster.Emulator(s.Context(), http.MethodPost, "faults", rules, nil); err != nil {
		s.Fatal(err)
	}
	repair = func() {
		if err := cluster.Emulator(context.Background(), http.MethodDelete, "faults", "", nil); err != nil {
			s.Error(err)
		}
	}
	s.Cleanup(repair)
	return repair
}

// held waits until AWS holds a call of the operation back.
func (s *story) held(operation string) {
	s.Helper()
	s.eventually(operation+" is held", func(ctx context.Context) error {
		var calls []struct {
			Operation string `json:"operation"`
		}
		if err := cluster.Emulator(ctx, http.MethodGet, "held", "", &calls); err != nil {
			return err
		}
		for _, c := range calls {
			if strings.EqualFold(c.Operation, operation) {
				return nil
			}
		}
		return fmt.Errorf("held are %v", calls)
	})
}
