package replay

import (
	"context"
	"fmt"
	"strings"

	awsefs "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// subnet is the default one of the only zone that has instances here.
const subnet = "subnet-00000000000000001"

// efsOperations are the operations of EFS volumes that change something in AWS.
func efsOperations() []operation {
	return []operation{
		{name: "create", prepare: files(func(_ context.Context, f *efs) (request, error) { return f.creating(), nil })},
		{name: "publish", prepare: files(publishFiles)},
		{name: "expand", prepare: files(expandFiles)},
		{name: "modify", prepare: files(modifyFiles)},
		{name: "delete", prepare: files(deleteFiles)},
		{name: "create an access point", prepare: files(createPoint)},
		{name: "delete an access point", prepare: files(deletePoint)},
		{name: "delete a directory", prepare: files(deleteDirectory)},
		{name: "archive", prepare: files(archiveFiles)},
		{name: "adopt", prepare: files(adoptFiles)},
		{name: "delete what was adopted", prepare: files(forgetFiles)},
	}
}

// efs is one volume's life until the operation. Access points and directories are made in the file system of another
// volume, given.
type efs struct {
	controller csi.ControllerClient
	node, name string
	parameters map[string]string
	volume     string // id; empty until it is made
	given      string // id; empty where there is none
	user       *awsefs.Client
}

func files(of func(context.Context, *efs) (request, error)) func(context.Context, grpc.ClientConnInterface, *sandbox.Emulator, string) (request, error) {
	return func(ctx context.Context, conn grpc.ClientConnInterface, e *sandbox.Emulator, unique string) (request, error) {
		return of(ctx, &efs{
			controller: csi.NewControllerClient(conn), user: user(e), node: e.Instances[0].ID, name: "pvc-" + unique,
			parameters: map[string]string{"transitionToIA": "AFTER_30_DAYS", "subnetIds": subnet},
		})
	}
}

func sharedCapability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}
}

func (f *efs) createRequest() *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: f.name, CapacityRange: &csi.CapacityRange{RequiredBytes: gib}, VolumeCapabilities: []*csi.VolumeCapability{sharedCapability()},
		Parameters: f.parameters,
	}
}

func (f *efs) create(ctx context.Context) error {
	v, err := f.controller.CreateVolume(ctx, f.createRequest())
	f.volume = v.GetVolume().GetVolumeId()
	return err
}

// within makes a file system to make something in.
func (f *efs) within(ctx context.Context, mode string) error {
	name := f.name
	f.name = "given-" + name
	if err := f.create(ctx); err != nil {
		return err
	}
	f.given, f.volume, f.name = f.volume, "", name
	f.parameters = map[string]string{"provisioningMode": mode, "fileSystemId": f.given}
	if mode == "directory" {
		f.parameters["onDelete"] = "delete"
	}
	return nil
}

// undo removes the volume, and then what it was made in; the connection is not that of before.
func (f *efs) undo(ctx context.Context, conn grpc.ClientConnInterface, _ proto.Message) error {
	for _, id := range []string{f.volume, f.given} {
		if id == "" {
			continue
		}
		if _, err := csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
			return err
		}
	}
	return nil
}

// only is the one file system that there is, if there is exactly that one.
func only(truth harness.Truth, id string) (harness.TrueFileSystem, error) {
	if len(truth.FileSystems) != 1 || truth.FileSystems[0].ID != id || truth.FileSystems[0].State != "available" {
		return harness.TrueFileSystem{}, fmt.Errorf("%s is not the one file system that can be used", id)
	}
	return truth.FileSystems[0], nil
}

// creating is the request that makes the volume.
func (f *efs) creating() request {
	return request{
		undo: f.undo,
		send: func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
			return csi.NewControllerClient(conn).CreateVolume(ctx, f.createRequest())
		},
		blank: func(answer proto.Message) {
			v := answer.(*csi.CreateVolumeResponse).GetVolume()
			v.VolumeId = ""
		},
		once: func(answer proto.Message, truth harness.Truth) error {
			f.volume = answer.(*csi.CreateVolumeResponse).GetVolume().GetVolumeId()
			fs, err := only(truth, f.volume)
			if err == nil && (fs.Tags["CSIVolumeName"] != f.name || fs.Lifecycle != 1 || len(fs.MountTargets) != 1) {
				err = fmt.Errorf("it has the tags %v, %d lifecycle policies and %d mount targets", fs.Tags, fs.Lifecycle, len(fs.MountTargets))
			}
			return err
		},
	}
}

func publishFiles(ctx context.Context, f *efs) (request, error) {
	delete(f.parameters, "subnetIds") // so that the mount target is made now
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	return request{
		undo: f.undo, blank: func(answer proto.Message) { answer.(*csi.ControllerPublishVolumeResponse).PublishContext = nil },
		send: func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
			return csi.NewControllerClient(conn).ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
				VolumeId: f.volume, NodeId: f.node, VolumeCapability: sharedCapability(),
			})
		},
		once: func(answer proto.Message, truth harness.Truth) error {
			fs, err := only(truth, f.volume)
			ip := answer.(*csi.ControllerPublishVolumeResponse).GetPublishContext()["diskbridge.io/mount-target-ip"]
			if err == nil && (len(fs.MountTargets) != 1 || fs.MountTargets[0].State != "available" || fs.MountTargets[0].IP != ip) {
				err = fmt.Errorf("%q is not the address of its one mount target: %+v", ip, fs.MountTargets)
			}
			return err
		},
	}, nil
}

func expandFiles(ctx context.Context, f *efs) (request, error) {
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	return request{
		undo: f.undo, blank: func(proto.Message) {},
		send: func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
			return csi.NewControllerClient(conn).ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
				VolumeId: f.volume, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib},
			})
		},
		once: func(_ proto.Message, truth harness.Truth) error {
			fs, err := only(truth, f.volume)
			if err == nil && fs.Tags["diskbridge.io/size-bytes"] != fmt.Sprint(2*gib) {
				err = fmt.Errorf("its tags are %v", fs.Tags)
			}
			return err
		},
	}, nil
}

func modifyFiles(ctx context.Context, f *efs) (request, error) {
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	return request{
		undo: f.undo, blank: func(proto.Message) {},
		send: func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
			return csi.NewControllerClient(conn).ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
				VolumeId: f.volume, MutableParameters: map[string]string{"throughputMode": "elastic"},
			})
		},
		once: func(_ proto.Message, truth harness.Truth) error {
			fs, err := only(truth, f.volume)
			if err == nil && fs.Throughput != "elastic" {
				err = fmt.Errorf("its throughput is %s", fs.Throughput)
			}
			return err
		},
	}, nil
}

func (f *efs) deleting(once func(truth harness.Truth) error) request {
	return request{
		undo: f.undo, blank: func(proto.Message) {},
		send: func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
			return csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: f.volume})
		},
		once: func(_ proto.Message, truth harness.Truth) error { return once(truth) },
	}
}

func deleteFiles(ctx context.Context, f *efs) (request, error) {
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	return f.deleting(func(truth harness.Truth) error {
		if len(truth.FileSystems) > 0 {
			return fmt.Errorf("%s is still there", truth.FileSystems[0].ID)
		}
		return nil
	}), nil
}

func createPoint(ctx context.Context, f *efs) (request, error) {
	if err := f.within(ctx, "accesspoint"); err != nil {
		return request{}, err
	}
	req := f.creating()
	req.once = func(answer proto.Message, truth harness.Truth) error {
		f.volume = answer.(*csi.CreateVolumeResponse).GetVolume().GetVolumeId()
		_, err := only(truth, f.given)
		if err == nil && (len(truth.AccessPoints) != 1 || f.given+"::"+truth.AccessPoints[0].ID != f.volume || truth.AccessPoints[0].State != "available") {
			err = fmt.Errorf("%s is not the one access point", f.volume)
		}
		return err
	}
	return req, nil
}

func deletePoint(ctx context.Context, f *efs) (request, error) {
	if err := f.within(ctx, "accesspoint"); err != nil {
		return request{}, err
	}
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	return f.deleting(func(truth harness.Truth) error {
		_, err := only(truth, f.given)
		for _, a := range truth.AccessPoints {
			if a.State != "deleting" {
				err = fmt.Errorf("%s is still there", a.ID)
			}
		}
		return err
	}), nil
}

// deleteDirectory asks the janitor for the removal.
func deleteDirectory(ctx context.Context, f *efs) (request, error) {
	if err := f.within(ctx, "directory"); err != nil {
		return request{}, err
	}
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	return f.deleting(func(truth harness.Truth) error {
		fs, err := only(truth, f.given)
		asked := 0
		for key, value := range fs.Tags {
			if strings.HasPrefix(key, "diskbridge.io/remove-") && strings.HasPrefix(value, "delete:replay:/"+f.name) {
				asked++
			}
		}
		if err == nil && asked != 1 {
			err = fmt.Errorf("the janitor is not asked once: %v", fs.Tags)
		}
		return err
	}), nil
}
