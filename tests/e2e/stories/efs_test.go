package stories

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
	"github.com/diskbridge/diskbridge/tests/e2e/install"
)

// fileSystem is an EFS file system as it is in AWS.
type fileSystem struct {
	ID           string            `json:"id"`
	Tags         map[string]string `json:"tags"`
	MountTargets []struct {
		Zone  string `json:"zone"`
		State string `json:"state"`
	} `json:"mount_targets"`
}

// fileSystems are those in AWS by id.
func fileSystems(ctx context.Context) (map[string]fileSystem, error) {
	var state struct {
		FileSystems []fileSystem `json:"file_systems"`
	}
	err := cluster.Emulator(ctx, http.MethodGet, "state", "", &state)
	all := map[string]fileSystem{}
	for _, f := range state.FileSystems {
		all[f.ID] = f
	}
	return all, err
}

// TestFiles takes the examples for EFS as far as this kernel lets them: bound, attached with a mount target in the zone of each
// node, and an event that says what is missing.
func TestFiles(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.apply(s.manifest("storageclass-efs.yaml"))
	s.apply(s.manifest("pod-efs.yaml"))
	id := s.bound("shared")
	for _, pod := range s.pods("app=writers", 2) {
		s.attached("shared", pod.node)
		s.event(pod.name, "MountVolume.MountDevice failed", whyNotMounted())
		f, err := fileSystems(s.Context())
		if err != nil || !strings.Contains(fmt.Sprint(f[id].MountTargets), zoneOf(pod.node)+" available") {
			s.Errorf("%s has the mount targets %v (%v), the pod is in %s", id, f[id].MountTargets, err, zoneOf(pod.node))
		}
	}
	s.kubectl("delete", "-f", here.Paths.Root+"/manifests/pod-efs.yaml")
}

// TestFilesOfOthers has a volume in a directory of a file system, which exists already in the second example.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	s := tell(t)
	class := strings.ReplaceAll(s.manifest("storageclass-efs.yaml"), "diskbridge-efs", "others")
	s.apply(class)
	s.Cleanup(func() {
		_, _ = here.Kubectl(context.Background(), "", "delete", "--wait=false", "storageclass/others", "storageclass/others-one-zone", "storageclass/others-directory")
	})
	s.apply(files("whole", "others-one-zone"), pod("first", "whole", "nodeSelector: {topology.kubernetes.io/zone: us-east-1b}"))
	id := s.bound("whole")
	if f, err := fileSystems(s.Context()); err != nil || f[id].Tags["kubernetes.io/created-for/pvc/name"] != "whole" {
		s.Errorf("%s in AWS: %v, %v", id, f[id], err)
	}
	_, err := here.Kubectl(s.Context(), strings.ReplaceAll(class, "fs-0123456789abcdef0", id), "replace", "--force", "-f", "-")
	if err != nil {
		s.Fatal(err)
	}
	s.apply(files("part", "others-directory"))
	if handle := s.bound("part"); !strings.HasPrefix(handle, id+":/volumes/"+s.ns+"/part-") || !strings.Contains(handle, "#delete.") {
		s.Errorf("the directory is %s", handle)
	}
	static := strings.NewReplacer("fs-0123456789abcdef0", id, "sg-0123456789abcdef0", "sg-00000000000000001", "namespace: default", "namespace: "+s.ns)
	s.apply(static.Replace(s.manifest("static-efs.yaml")), pod("second", "existing-files", "nodeSelector: {topology.kubernetes.io/zone: us-east-1b}"))
	s.attached("existing-files", nodes("us-east-1b")[0])
	s.event("second", "MountVolume.MountDevice failed", whyNotMounted())
	s.kubectl("delete", "pods,pvc", "--all")
	s.kubectl("delete", "pv", "existing-files")
}

// TestJanitor: it looks for work, and may mount, though it is not privileged.
func TestJanitor(t *testing.T) {
	t.Parallel()
	s := tell(t)
	janitor := []string{"--namespace=" + install.Namespace, "deployment/" + install.Release + "-janitor"}
	s.kubectl(append([]string{"rollout", "status", "--timeout=" + patience.String()}, janitor...)...)
	s.eventually("it looks for work", func(context.Context) error {
		return contains(s.kubectl(append([]string{"logs"}, janitor...)...), []string{"Looking for directories to remove"})
	})
	for _, command := range []string{"mount -t tmpfs none /run/janitor", "umount /run/janitor"} {
		s.kubectl(append(append([]string{"exec"}, janitor...), append([]string{"--"}, strings.Fields(command)...)...)...)
	}
}

// whyNotMounted is what users of this machine's kernel read.
func whyNotMounted() string {
	if known, err := os.ReadFile("/proc/filesystems"); err == nil && strings.Contains(string(known), "nfs4") {
		return "its security group must let this node in on TCP port 2049" // nobody is at the address
	}
	return "this node's kernel has no NFS client: load its module (modprobe nfsv4), or use a kernel that has one"
}

// files is a claim that several nodes may share.
func files(name, class string) string {
	return strings.Replace(claim(name, "1Gi", "storageClassName: "+class), "ReadWriteOnce", "ReadWriteMany", 1)
}

// bound waits until the claim has a volume and returns its handle.
func (s *story) bound(claim string) (handle string) {
	s.Helper()
	s.eventually("claim "+claim+" is bound", func(ctx context.Context) error {
		pvc, err := here.Client.CoreV1().PersistentVolumeClaims(s.ns).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pvc.Status.Phase != "Bound" {
			return fmt.Errorf("it is %s", pvc.Status.Phase)
		}
		pv, err := here.Client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
		if err == nil {
			handle = pv.Spec.CSI.VolumeHandle
		}
		return err
	})
	return handle
}

// attached waits until Kubernetes knows that the claim's volume is attached to the node.
func (s *story) attached(claim, node string) {
	s.Helper()
	s.eventually(claim+" is attached to "+node, func(ctx context.Context) error {
		pvc, err := here.Client.CoreV1().PersistentVolumeClaims(s.ns).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		all, err := here.Client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, a := range all.Items {
			if a.Spec.NodeName == node && a.Spec.Source.PersistentVolumeName != nil && *a.Spec.Source.PersistentVolumeName == pvc.Spec.VolumeName && a.Status.Attached {
				return nil
			}
		}
		return errors.New("it is not")
	})
}

// placed is a pod that a node has.
type placed struct{ name, node string }

// pods waits until there are so many pods with the label and all have a node.
func (s *story) pods(label string, number int) (found []placed) {
	s.Helper()
	s.eventually("pods have nodes", func(ctx context.Context) error {
		pods, err := here.Client.CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{LabelSelector: label})
		if err != nil {
			return err
		}
		found = nil
		for _, p := range pods.Items {
			if p.Spec.NodeName != "" {
				found = append(found, placed{p.Name, p.Spec.NodeName})
			}
		}
		if len(found) != number {
			return fmt.Errorf("pods are %v", found)
		}
		return nil
	})
	return found
}

// zoneOf is a node's zone.
func zoneOf(node string) string {
	for _, n := range here.Nodes {
		if n.Name == node {
			return n.Zone
		}
	}
	return ""
}
