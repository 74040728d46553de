package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator"
)

// floor is the trivial driver: it makes the one AWS call that an operation cannot do without, and the emulator tells it
// when the call took effect. It asks nothing, checks nothing and remembers nothing that would make it a driver.
type floor struct {
	csi.UnimplementedControllerServer
	csi.UnimplementedIdentityServer
	aws   *awsSide
	slots chan struct{}

	mu      sync.Mutex
	volumes map[string]*emulator.VolumeState
	changed map[string]chan struct{} // by volume that somebody waits for; closed at its next event
	devices map[string]int           // device names given out, by instance
}

var _ csi.ControllerServer = (*floor)(nil)

// startFloor serves the trivial driver on a socket in dir. stop ends it and waits for it.
func startFloor(ctx context.Context, a *awsSide, dir string) (conn *grpc.ClientConn, stop func(), err error) {
	f := &floor{
		aws: a, slots: make(chan struct{}, inFlight), volumes: map[string]*emulator.VolumeState{},
		changed: map[string]chan struct{}{}, devices: map[string]int{},
	}
	ctx, cancel := context.WithCancel(ctx)
	ended, err := a.follow(ctx, f.note)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	socket := filepath.Join(dir, "floor.sock")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		cancel()
		<-ended
		return nil, nil, err
	}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, f)
	csi.RegisterControllerServer(server, f)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // its callers see when it fails
	}()
	end := func() {
		server.Stop()
		cancel()
		<-served
		<-ended
	}
	if conn, err = sandbox.Dial(socket); err != nil {
		end()
		return nil, nil, err
	}
	return conn, func() {
		_ = conn.Close() // nothing is sent any more
		end()
	}, nil
}

// note keeps what the emulator tells and wakes who waits for it.
func (f *floor) note(e emulator.Event) {
	id := e.Gone
	if e.Volume != nil {
		id = e.Volume.ID
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Volume != nil {
		f.volumes[id] = e.Volume
	} else {
		delete(f.volumes, id)
	}
	if c := f.changed[id]; c != nil {
		close(c)
		delete(f.changed, id)
	}
}

// told waits until the emulator told that the volume fits.
func (f *floor) told(ctx context.Context, id string, fits func(*emulator.VolumeState) bool) error {
	for {
		f.mu.Lock()
		v := f.volumes[id]
		c := f.changed[id]
		if c == nil {
			c = make(chan struct{})
			f.changed[id] = c
		}
		f.mu.Unlock()
		if v != nil && fits(v) {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// call makes one AWS call when there is room for it.
func call[I, O any](ctx context.Context, f *floor, do func(context.Context, I, ...func(*ec2.Options)) (O, error), in I) (O, error) {
	f.slots <- struct{}{}
	defer func() { <-f.slots }()
	return do(ctx, in)
}

// GetPluginInfo tells its name.
func (f *floor) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: "floor", VendorVersion: "1"}, nil
}

// ControllerGetCapabilities announces what is measured.
func (f *floor) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	out := &csi.ControllerGetCapabilitiesResponse{}
	for _, op := range operations(false) {
		out.Capabilities = append(out.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: op.needs}},
		})
	}
	return out, nil
}

// CreateVolume makes a volume; two equal calls are two volumes.
func (f *floor) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	zone := r.GetAccessibilityRequirements().GetPreferred()[0].GetSegments()
	out, err := call(ctx, f, f.aws.ec2.CreateVolume, &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(first(zone)), Size: aws.Int32(sizeGiB), VolumeType: types.VolumeType(driverType),
	})
	if err != nil {
		return nil, err
	}
	err = f.told(ctx, *out.VolumeId, func(v *emulator.VolumeState) bool { return v.State == "available" })
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: *out.VolumeId, CapacityBytes: sizeGiB << 30}}, err
}

func first(segments map[string]string) string {
	for _, v := range segments {
		return v
	}
	return ""
}

// ControllerPublishVolume attaches a volume. What is attached already it knows without a call.
func (f *floor) ControllerPublishVolume(ctx context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	out := &csi.ControllerPublishVolumeResponse{}
	on := func(v *emulator.VolumeState) bool {
		return len(v.Attachments) == 1 && v.Attachments[0].Instance == r.GetNodeId() && v.Attachments[0].State == "attached"
	}
	f.mu.Lock()
	v := f.volumes[r.GetVolumeId()]
	number := f.devices[r.GetNodeId()]
	again := v != nil && on(v)
	if !again {
		f.devices[r.GetNodeId()]++
	}
	f.mu.Unlock()
	if again {
		return out, nil
	}
	device := fmt.Sprintf("/dev/xvd%c%c", 'b'+number/26%3, 'a'+number%26)
	if _, err := call(ctx, f, f.aws.ec2.AttachVolume, &ec2.AttachVolumeInput{VolumeId: &r.VolumeId, InstanceId: &r.NodeId, Device: &device}); err != nil {
		return nil, err
	}
	return out, f.told(ctx, r.GetVolumeId(), on)
}

// ControllerExpandVolume grows a volume.
func (f *floor) ControllerExpandVolume(ctx context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if _, err := call(ctx, f, f.aws.ec2.ModifyVolume, &ec2.ModifyVolumeInput{VolumeId: &r.VolumeId, Size: aws.Int32(grownGiB)}); err != nil {
		return nil, err
	}
	err := f.told(ctx, r.GetVolumeId(), func(v *emulator.VolumeState) bool { return v.SizeGiB == grownGiB })
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: grownGiB << 30}, err
}

// ControllerModifyVolume changes a volume's operations per second.
func (f *floor) ControllerModifyVolume(ctx context.Context, r *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	iops, err := strconv.Atoi(r.GetMutableParameters()["iops"])
	if err != nil {
		return nil, err
	}
	in := &ec2.ModifyVolumeInput{VolumeId: &r.VolumeId, Iops: aws.Int32(int32(iops))} //nolint:gosec // a constant of this program
	if _, err := call(ctx, f, f.aws.ec2.ModifyVolume, in); err != nil {
		return nil, err
	}
	return &csi.ControllerModifyVolumeResponse{}, f.told(ctx, r.GetVolumeId(), func(v *emulator.VolumeState) bool { return v.IOPS == iops })
}

// CreateSnapshot takes a snapshot and does not wait until it is complete, as no driver does.
func (f *floor) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	out, err := call(ctx, f, f.aws.ec2.CreateSnapshot, &ec2.CreateSnapshotInput{VolumeId: &r.SourceVolumeId})
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{SnapshotId: *out.SnapshotId}}, nil
}

// DeleteSnapshot is not measured; it cleans up.
func (f *floor) DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	_, err := call(ctx, f, f.aws.ec2.DeleteSnapshot, &ec2.DeleteSnapshotInput{SnapshotId: &r.SnapshotId})
	return &csi.DeleteSnapshotResponse{}, err
}

// ControllerUnpublishVolume detaches a volume.
func (f *floor) ControllerUnpublishVolume(ctx context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	if _, err := call(ctx, f, f.aws.ec2.DetachVolume, &ec2.DetachVolumeInput{VolumeId: &r.VolumeId, InstanceId: &r.NodeId}); err != nil {
		return nil, err
	}
	return &csi.ControllerUnpublishVolumeResponse{}, f.told(ctx, r.GetVolumeId(), func(v *emulator.VolumeState) bool { return len(v.Attachments) == 0 })
}

// DeleteVolume deletes a volume.
func (f *floor) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	_, err := call(ctx, f, f.aws.ec2.DeleteVolume, &ec2.DeleteVolumeInput{VolumeId: &r.VolumeId})
	return &csi.DeleteVolumeResponse{}, err
}
