package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// createAfterError is the creation of a volume whose first attempt EC2 ends in state "error": the driver deletes that one.
func createAfterError(ctx context.Context, conn grpc.ClientConnInterface, e *sandbox.Emulator, unique string) (request, error) {
	if err := harness.SetFaults(ctx, e, harness.Fault{Operation: "CreateVolume", Nth: 1, Effect: "fail-later"}); err != nil {
		return request{}, err
	}
	b := &ebs{controller: csi.NewControllerClient(conn), node: e.Instances[0].ID, name: "pvc-" + unique}
	req, err := createVolume(ctx, b)
	once := req.once
	req.once = func(answer proto.Message, truth harness.Truth) error {
		id := answer.(*csi.CreateVolumeResponse).GetVolume().GetVolumeId()
		truth.Volumes = slices.DeleteFunc(truth.Volumes, func(v harness.TrueVolume) bool { return v.ID != id && v.State == "deleting" })
		return once(answer, truth)
	}
	return req, err
}

// expandAgain is the second growth of a day: the first is written to the volume's tag before EC2 forgets it.
func expandAgain(ctx context.Context, b *ebs) (request, error) {
	req, err := expand(ctx, b)
	if err != nil {
		return req, err
	}
	_, err = b.controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: b.volume, CapacityRange: &csi.CapacityRange{RequiredBytes: 11 * gib},
	})
	once := req.once
	req.once = func(answer proto.Message, truth harness.Truth) error {
		err := once(answer, truth)
		if v, missing := b.only(truth); err == nil && missing == nil && v.Tags["diskbridge.io/modifications"] == "" {
			err = fmt.Errorf("the first growth is not remembered: tags %v", v.Tags)
		}
		return err
	}
	return req, err
}
