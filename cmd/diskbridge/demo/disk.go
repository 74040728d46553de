package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

const gib = int64(1) << 30

// raw is the kind of a disk that a pod gets as a device; every other kind is a file system.
const raw = "raw"

// shared is the kind of EFS's: a file system of several nodes.
const shared = "NFS"

// disk is a volume and how far it has come on its way to a pod. A field is set
// before the call that makes it true, so that taking it back covers a call that
// was cut short.
type disk struct {
	name, kind string
	id         string
	context    map[string]string
	attachedTo *node
	publish    map[string]string
	staged     bool
	published  bool
	dir        string // holds the staging and the target path
}

func (d *disk) staging() string { return filepath.Join(d.dir, "staging") }
func (d *disk) target() string  { return filepath.Join(d.dir, "pod") }

func (d *disk) capability() *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	if d.kind == shared || d.kind == objects {
		c.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	}
	if d.kind == raw {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: strings.TrimPrefix(strings.TrimPrefix(d.kind, shared), objects)}}
	}
	return c
}

// provision makes an encrypted gp3 volume of sizeGiB, from a snapshot unless that is "".
func (s *scene) provision(ctx context.Context, name, kind string, sizeGiB int64, snapshot string) (*disk, error) {
	d := &disk{name: name, kind: kind, dir: filepath.Join(s.dir, name)}
	request := &csi.CreateVolumeRequest{
		Name:               "pvc-" + name,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: sizeGiB * gib},
		VolumeCapabilities: []*csi.VolumeCapability{d.capability()},
		Parameters:         map[string]string{"encrypted": "true"},
	}
	what := "provision an encrypted file system"
	switch kind {
	case shared:
	case objects:
		request.Parameters = map[string]string{"encryption": "sse-s3"}
		what = "provision an encrypted bucket"
	default:
		request.Parameters["type"] = "gp3"
		what = fmt.Sprintf("provision %d GiB of encrypted gp3", sizeGiB)
	}
	if snapshot != "" {
		what = fmt.Sprintf("restore it into a new volume of %d GiB", sizeGiB)
		request.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot}}}
	}
	if t := s.nodes[0].topology; t != nil && kind != shared && kind != objects {
		request.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{t}, Preferred: []*csi.Topology{t}}
	}
	return d, s.step(ctx, what, func(ctx context.Context) (string, error) {
		answer, err := s.controller.CreateVolume(ctx, request)
		if err != nil {
			return "", err
		}
		d.id, d.context = answer.GetVolume().GetVolumeId(), answer.GetVolume().GetVolumeContext()
		s.disks = append(s.disks, d)
		if got := answer.GetVolume().GetCapacityBytes(); got < sizeGiB*gib {
			return "", fmt.Errorf("asked for %d bytes, got %d", sizeGiB*gib, got)
		}
		return d.id, os.MkdirAll(d.dir, 0o750)
	})
}

// use attaches the disk to the node and makes it appear in the pod's folder.
func (s *scene) use(ctx context.Context, d *disk, n *node) error {
	if err := s.attach(ctx, d, n); err != nil {
		return err
	}
	return s.mount(ctx, d)
}

func (s *scene) attach(ctx context.Context, d *disk, n *node) error {
	return s.step(ctx, "attach to "+n.id, func(ctx context.Context) (string, error) {
		d.attachedTo = n
		answer, err := s.controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
			VolumeId: d.id, NodeId: n.id, VolumeCapability: d.capability(), VolumeContext: d.context})
		d.publish = answer.GetPublishContext()
		return d.publish["devicePath"] + d.publish["diskbridge.io/mount-target-ip"], err
	})
}

// mount stages and publishes.
func (s *scene) mount(ctx context.Context, d *disk) error {
	err := s.step(ctx, "stage "+d.kind, func(ctx context.Context) (string, error) {
		if err := os.MkdirAll(d.staging(), 0o750); err != nil {
			return "", err
		}
		d.staged = true
		_, err := d.attachedTo.csi.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: d.id, PublishContext: d.publish, StagingTargetPath: d.staging(),
			VolumeCapability: d.capability(), VolumeContext: d.context})
		return "", err
	})
	if err != nil {
		return err
	}
	return s.step(ctx, "publish to a pod", func(ctx context.Context) (string, error) {
		d.published = true
		_, err := d.attachedTo.csi.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: d.id, PublishContext: d.publish, StagingTargetPath: d.staging(), TargetPath: d.target(),
			VolumeCapability: d.capability(), VolumeContext: d.context})
		return s.short(d.target()), err
	})
}

// short is a path below the demo's folder.
func (s *scene) short(path string) string { return strings.TrimPrefix(path, s.dir+"/") }

// unmount takes the disk out of the pod and off the node's staging path.
func (s *scene) unmount(ctx context.Context, d *disk) error {
	if d.published {
		err := s.step(ctx, "unpublish", func(ctx context.Context) (string, error) {
			_, err := d.attachedTo.csi.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: d.id, TargetPath: d.target()})
			d.published = err != nil
			return "", err
		})
		if err != nil {
			return err
		}
	}
	if !d.staged {
		return nil
	}
	return s.step(ctx, "unstage", func(ctx context.Context) (string, error) {
		_, err := d.attachedTo.csi.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: d.id, StagingTargetPath: d.staging()})
		d.staged = err != nil
		return "", err
	})
}

// release unmounts and detaches.
func (s *scene) release(ctx context.Context, d *disk) error {
	if err := s.unmount(ctx, d); err != nil || d.attachedTo == nil || d.kind == objects { // which is attached to nothing
		return err
	}
	return s.step(ctx, "detach from "+d.attachedTo.id, func(ctx context.Context) (string, error) {
		_, err := s.controller.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: d.id, NodeId: d.attachedTo.id})
		if err == nil {
			d.attachedTo = nil
		}
		return "", err
	})
}

// retire takes the disk away from wherever it is and deletes it. A disk that
// could not be deleted is not tried again.
func (s *scene) retire(ctx context.Context, d *disk) error {
	s.disks = slices.DeleteFunc(s.disks, func(other *disk) bool { return other == d })
	if err := s.release(ctx, d); err != nil {
		return err
	}
	return s.step(ctx, "delete "+d.id, func(ctx context.Context) (string, error) {
		_, err := s.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: d.id})
		return "", err
	})
}

// snapshot makes a snapshot and waits until it can be restored, asking again as the snapshotter does.
func (s *scene) snapshot(ctx context.Context, d *disk) (id string, err error) {
	err = s.step(ctx, "take a snapshot", func(ctx context.Context) (string, error) {
		err := poll(ctx, func() (bool, error) {
			answer, err := s.controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{SourceVolumeId: d.id, Name: "snapshot-" + d.name})
			id = answer.GetSnapshot().GetSnapshotId()
			return answer.GetSnapshot().GetReadyToUse(), err
		})
		return id, err
	})
	return id, err
}

func (s *scene) deleteSnapshot(ctx context.Context, id string) error {
	return s.step(ctx, "delete the snapshot", func(ctx context.Context) (string, error) {
		_, err := s.controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
		return id, err
	})
}

// inOrder does one after the other and stops at the first that fails.
func inOrder(do ...func() error) error {
	for _, f := range do {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
