package churn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

const (
	gib = int64(1) << 30

	patience = time.Minute      // until a request is answered with OK
	attempt  = 15 * time.Second // of one try
	between  = 100 * time.Millisecond
)

// lane is one volume after the other.
type lane struct {
	*world
	number int
	random *rand.Rand

	name, id, fs string
	context      map[string]string
	files        map[string][sha256.Size]byte
}

// errEnded says that the churn has failed.
var errEnded = errors.New("the lane ended")

// round is one volume from its creation to its deletion. It is on one node and then perhaps on the other.
func (l *lane) round(ctx context.Context, n int) {
	l.name, l.id, l.files = fmt.Sprintf("churn-%d-%d", l.number, n), "", map[string][sha256.Size]byte{}
	l.fs = []string{"ext4", "xfs"}[l.random.IntN(2)]
	stays := 1 + l.random.IntN(3)
	err := l.create(ctx)
	for range stays {
		if err == nil {
			err = l.stay(ctx, l.random.IntN(nodes))
		}
	}
	if err == nil {
		err = l.insist(ctx, "delete", func(ctx context.Context, c csi.ControllerClient) error {
			_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: l.id})
			return err
		})
	}
	if err == nil {
		err = l.absent(ctx)
	}
	if err == nil {
		l.count(&l.rounds)
	} else if !errors.Is(err, errEnded) {
		l.fail(fmt.Sprintf("lane %d, volume %s %s (%s): %v", l.number, l.name, l.id, l.fs, err))
	}
}

// insist repeats a request to a controller as the sidecars do, until it is answered with OK.
func (l *lane) insist(ctx context.Context, what string, do func(context.Context, csi.ControllerClient) error) error {
	return l.repeat(ctx, what, func(ctx context.Context) error { return do(ctx, l.controller(l.random.IntN(controllers))) })
}

func (l *lane) repeat(ctx context.Context, what string, do func(context.Context) error) error {
	for end := time.Now().Add(patience); ; <-time.After(between) {
		once, cancel := context.WithTimeout(ctx, attempt)
		err := do(once)
		cancel()
		switch {
		case err == nil:
			return nil
		case l.failed():
			return errEnded
		case time.Now().After(end), status.Code(err) == codes.InvalidArgument:
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

func (l *lane) capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: l.fs}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func (l *lane) create(ctx context.Context) error {
	err := l.insist(ctx, "create", func(ctx context.Context, c csi.ControllerClient) error {
		answer, err := c.CreateVolume(ctx, &csi.CreateVolumeRequest{
			Name: l.name, CapacityRange: &csi.CapacityRange{RequiredBytes: gib}, VolumeCapabilities: []*csi.VolumeCapability{l.capability()},
			AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"topology.kubernetes.io/zone": zone}}}},
		})
		l.id, l.context = answer.GetVolume().GetVolumeId(), answer.GetVolume().GetVolumeContext()
		return err
	})
	if err != nil {
		return err
	}
	truth, err := harness.ReadTruth(ctx, l.emulator)
	ours := slices.DeleteFunc(truth.Volumes, func(v harness.TrueVolume) bool {
		for _, value := range v.Tags {
			if value == l.name {
				return false
			}
		}
		return true
	})
	if err == nil && (len(ours) != 1 || ours[0].ID != l.id) {
		err = fmt.Errorf("AWS has %+v", ours)
	}
	return err
}

// absent says that AWS still holds the volume.
func (l *lane) absent(ctx context.Context) error {
	truth, err := harness.ReadTruth(ctx, l.emulator)
	if slices.ContainsFunc(truth.Volumes, func(v harness.TrueVolume) bool { return v.ID == l.id && v.State != "deleting" }) {
		err = errors.New("it is deleted, and AWS holds it")
	}
	return err
}

// stay attaches the volume to a node, mounts it there once or twice, and takes it away again.
func (l *lane) stay(ctx context.Context, node int) error {
	instance := l.emulator.Instances[node].ID
	var where map[string]string
	err := l.insist(ctx, "attach", func(ctx context.Context, c csi.ControllerClient) error {
		answer, err := c.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
			VolumeId: l.id, NodeId: instance, VolumeCapability: l.capability(), VolumeContext: l.context,
		})
		where = answer.GetPublishContext()
		return err
	})
	for range 1 + l.random.IntN(2) {
		if err == nil {
			err = l.mounted(ctx, node, where)
		}
	}
	if err != nil {
		return err
	}
	err = l.insist(ctx, "detach", func(ctx context.Context, c csi.ControllerClient) error {
		_, err := c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: l.id, NodeId: instance})
		return err
	})
	if err != nil {
		return err
	}
	truth, err := harness.ReadTruth(ctx, l.emulator)
	for _, v := range truth.Volumes {
		if v.ID == l.id && len(v.Attachments) > 0 {
			return fmt.Errorf("it is detached, and AWS holds %+v", v.Attachments)
		}
	}
	return err
}

// mounted stages and publishes the volume, compares and writes, and takes it down as kubelet does.
func (l *lane) mounted(ctx context.Context, node int, where map[string]string) error {
	client := csi.NewNodeClient(l.nodes[node].Conn)
	staging := filepath.Join(l.dir, fmt.Sprintf("s%d", l.number))
	target := filepath.Join(l.dir, fmt.Sprintf("p%d", l.number), "mount")
	if err := errors.Join(os.MkdirAll(staging, 0o750), os.MkdirAll(filepath.Dir(target), 0o750)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"stage", func(ctx context.Context) error {
			_, err := client.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
				VolumeId: l.id, PublishContext: where, VolumeContext: l.context, StagingTargetPath: staging, VolumeCapability: l.capability(),
			})
			return err
		}},
		{"publish", func(ctx context.Context) error {
			_, err := client.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
				VolumeId: l.id, PublishContext: where, VolumeContext: l.context, StagingTargetPath: staging, TargetPath: target, VolumeCapability: l.capability(),
			})
			return err
		}},
		{"", func(context.Context) error { return errors.Join(l.compare(target), l.write(target), l.compare(target)) }},
		{"unpublish", func(ctx context.Context) error {
			_, err := client.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: l.id, TargetPath: target})
			return err
		}},
		{"unstage", func(ctx context.Context) error {
			_, err := client.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: l.id, StagingTargetPath: staging})
			return err
		}},
	} {
		var err error
		if step.name == "" { // what a pod does is done once
			err = step.do(ctx)
		} else {
			err = l.repeat(ctx, step.name, step.do)
		}
		if err != nil {
			return err
		}
	}
	for _, path := range []string{staging, target} {
		if left, err := sandbox.Mounts(path); err != nil || len(left) > 0 {
			return fmt.Errorf("it is unstaged, and still mounted are %v (%w)", left, err)
		}
	}
	return nil
}

// write adds a file, or writes one anew.
func (l *lane) write(target string) error {
	name := fmt.Sprintf("file-%d", l.random.IntN(4))
	data := make([]byte, 1+l.random.IntN(1<<20))
	for i := range data {
		data[i] = byte(l.random.Uint32())
	}
	file, err := os.Create(filepath.Join(target, name))
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	l.files[name] = sha256.Sum256(data)
	return errors.Join(err, file.Sync(), file.Close())
}

// compare reads every file and finds no other.
func (l *lane) compare(target string) error {
	entries, err := os.ReadDir(target)
	if err != nil {
		return err
	}
	found := 0
	for _, e := range entries {
		if e.Name() == "lost+found" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(target, e.Name()))
		if err != nil {
			return err
		}
		want, ours := l.files[e.Name()]
		if got := sha256.Sum256(data); !ours || !bytes.Equal(got[:], want[:]) {
			return fmt.Errorf("%s has %d bytes that are not what was written last", e.Name(), len(data))
		}
		l.count(&l.compared)
		found++
	}
	if found != len(l.files) {
		return fmt.Errorf("it has %d files, want %d", found, len(l.files))
	}
	return nil
}
