package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/tests/lane"
)

// claim is one use of a volume on one node, as the kubelet sees it.
type claim struct {
	*node
	handle  string
	address string            // of the mount target, from the publish context
	context map[string]string // the volume context
	options []string
	mode    csi.VolumeCapability_AccessMode_Mode // default: MULTI_NODE_MULTI_WRITER
	pod     string
}

func (c claim) id() string {
	return strings.NewReplacer(":", "_", "/", "_", "#", "_").Replace(c.handle)
}
func (c claim) staging() string { return filepath.Join(kubelet, "staging", c.id()) }
func (c claim) target() string  { return filepath.Join(kubelet, "pods", c.pod, c.id(), "mount") }

// file is where this process sees a file of the volume in the pod.
func (c claim) file(name string) string { return filepath.Join(c.path(c.target()), name) }

func (c claim) capability() *csi.VolumeCapability {
	mode := c.mode
	if mode == csi.VolumeCapability_AccessMode_UNKNOWN {
		mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	}
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: c.options}},
	}
}

func (c claim) published() map[string]string {
	return map[string]string{"diskbridge.io/mount-target-ip": c.address}
}

func (c claim) stage(ctx context.Context) error {
	if _, err := c.mountOptions(c.staging()); err != nil { // what is mounted may hang who looks at it
		if err := os.MkdirAll(c.staging(), 0o750); err != nil {
			return err
		}
	}
	_, err := c.csi.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: c.handle, StagingTargetPath: c.staging(), VolumeCapability: c.capability(), VolumeContext: c.context, PublishContext: c.published(),
	})
	return lane.Named("stage", err)
}

func (c claim) publishAs(ctx context.Context, readOnly bool) error {
	if err := os.MkdirAll(filepath.Dir(c.target()), 0o755); err != nil {
		return err
	}
	_, err := c.csi.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: c.handle, StagingTargetPath: c.staging(), TargetPath: c.target(), VolumeCapability: c.capability(), VolumeContext: c.context,
		PublishContext: c.published(), Readonly: readOnly,
	})
	return lane.Named("publish", err)
}

func (c claim) publish(ctx context.Context) error { return c.publishAs(ctx, false) }

// mount stages and publishes, each twice as a kubelet may.
func (c claim) mount(ctx context.Context) error {
	return lane.InOrder(ctx, c.stage, c.stage, c.publish, c.publish)
}

func (c claim) unpublish(ctx context.Context) error {
	_, err := c.csi.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: c.handle, TargetPath: c.target()})
	return lane.Named("unpublish", err)
}

func (c claim) unstage(ctx context.Context) error {
	_, err := c.csi.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: c.handle, StagingTargetPath: c.staging()})
	return lane.Named("unstage", err)
}

// unmount takes back what mount did, each twice. The plugin removes the target (CSI specification, NodeUnpublishVolume).
func (c claim) unmount(ctx context.Context) error {
	return lane.InOrder(ctx, c.unpublish, func(context.Context) error { return gone(c.target()) }, c.unpublish, c.unstage, c.unstage)
}

// stats asks the node how full the volume is.
func (c claim) stats(ctx context.Context) error {
	answer, err := c.csi.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: c.handle, VolumePath: c.target(), StagingTargetPath: c.staging()})
	if err == nil && answer.GetUsage()[0].GetTotal() == 0 {
		err = errors.New("the file system has no bytes")
	}
	return lane.Named("stats", err)
}

// ailments are what the node says is wrong with the volume.
func (c claim) ailments(ctx context.Context, want ...string) error {
	answer, err := c.csi.NodeGetVolumeHealth(ctx, &csi.NodeGetVolumeHealthRequest{VolumeId: c.handle, VolumePublishPath: c.target()})
	var got []string
	for _, s := range answer.GetVolumeHealth().GetHealthStatuses() {
		got = append(got, s.GetStatus().String()+" "+s.GetReason())
	}
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("the node says %q, want %q", got, want)
	}
	return lane.Named("health", err)
}

// says proves that the volume's health names a reason.
func (c claim) says(ctx context.Context, why string) error {
	answer, err := c.csi.NodeGetVolumeHealth(ctx, &csi.NodeGetVolumeHealthRequest{VolumeId: c.handle, VolumePublishPath: c.target()})
	if err == nil && !strings.Contains(fmt.Sprint(answer.GetVolumeHealth().GetHealthStatuses()), why) {
		err = fmt.Errorf("the node does not say %q: %v", why, answer)
	}
	return lane.Named("health", err)
}

// refused proves that a call fails with a code and says some words.
func refused(err error, code codes.Code, words ...string) error {
	if err == nil {
		return fmt.Errorf("it succeeded, want %s", code)
	}
	if status.Code(err) != code {
		return fmt.Errorf("want %s: %w", code, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("it does not say %q: %w", word, err)
		}
	}
	return nil
}

// mountOptions are what the kernel shows of the node's mount at a path.
func (n *node) mountOptions(path string) ([]string, error) {
	table := "/proc/self/mounts"
	if n.host != nil {
		table = fmt.Sprintf("/proc/%d/mounts", n.host.PID())
	}
	text, err := os.ReadFile(table)
	if err != nil {
		return nil, err
	}
	var options []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[1] == path { // the last one is seen
			options = append([]string{"source=" + f[0], "type=" + f[2]}, strings.Split(f[3], ",")...)
		}
	}
	if options == nil {
		return nil, fmt.Errorf("nothing is mounted at %s", path)
	}
	return options, nil
}

// shows proves that the kernel shows options of the staged volume.
func (c claim) shows(want ...string) error {
	options, err := c.mountOptions(c.staging())
	for _, o := range want {
		if err == nil && !slices.Contains(options, o) {
			err = fmt.Errorf("the mount is %q, without %q", options, o)
		}
	}
	return err
}

// save writes a file to the volume, down to the server.
func (c claim) save(name, text string) error {
	f, err := os.OpenFile(c.file(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func (c claim) holds(name, text string) error {
	got, err := os.ReadFile(c.file(name))
	if err == nil && string(got) != text {
		err = fmt.Errorf("%s holds %q, want %q", name, got, text)
	}
	return err
}
