package csi

import (
	"context"
	"slices"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// doctor is a backend that knows what ails its volumes.
type doctor struct {
	backend.Backend

	ailments map[string][]volume.Ailment
}

func (d doctor) Examine(_ context.Context, handle string) ([]volume.Ailment, error) {
	ailments, known := d.ailments[handle]
	if !known {
		return nil, fault.New(fault.NotFound, "examine", handle, "it does not exist")
	}
	return ailments, nil
}

// measured is a stager whose paths answer, each in its own way.
type measured struct {
	Stager[volume.NFSPlan]

	answers map[string]error
	failed  string // path at which the file system is read-only after an error
}

func (m measured) Stats(_ context.Context, handle, path string) (mount.Stats, error) {
	err, known := m.answers[path]
	if !known {
		return mount.Stats{}, fault.New(fault.NotFound, "get stats", handle, "nothing is mounted at %s", path)
	}
	return mount.Stats{Failed: path == m.failed}, err
}

// entries are health statuses, one text each.
func entries(h *csipb.VolumeHealth) []string {
	var out []string
	for _, e := range h.GetHealthStatuses() {
		out = append(out, strings.Join([]string{e.GetStatus().String(), e.GetReason(), e.GetMessage()}, " "))
	}
	return out
}

// answered checks what was said of a volume, or with which code nothing was.
func answered(t *testing.T, health *csipb.VolumeHealth, err error, handle string, code codes.Code, want []string) {
	t.Helper()
	if got := status.Code(Status("", err)); got != code {
		t.Fatalf("%v: %v, want %v", got, err, code)
	}
	if got := entries(health); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if err == nil && health.GetVolumeId() != handle {
		t.Errorf("it speaks of %q", health.GetVolumeId())
	}
}

func TestController_Health(t *testing.T) {
	d := doctor{ailments: map[string][]volume.Ailment{
		"fs-00000001": {},
		"fs-00000002": {{Reason: "MountTargetError", Message: "zone a"}, {Inaccessible: true, Reason: "FileSystemError", Message: "all of it"}},
	}}
	examined := &Controller{
		Kind:   backend.Kind{Name: volume.EFS, Examined: true},
		Broker: broker.New(map[volume.Kind]backend.Backend{volume.EFS: d}),
	}
	unexamined := &Controller{Kind: backend.Kind{Name: volume.EFS}, Broker: examined.Broker}
	for name, tc := range map[string]struct {
		controller *Controller
		handle     string
		code       codes.Code
		want       []string
	}{
		"nothing is wrong":          {examined, "fs-00000001", codes.OK, nil},
		"two things are wrong":      {examined, "fs-00000002", codes.OK, []string{"DEGRADED MountTargetError zone a", "INACCESSIBLE FileSystemError all of it"}},
		"an unknown volume":         {examined, "fs-00000003", codes.NotFound, nil},
		"a handle of no kind":       {examined, "nonsense", codes.NotFound, nil},
		"no handle":                 {examined, "", codes.InvalidArgument, nil},
		"a kind that has no doctor": {unexamined, "fs-00000001", codes.Unimplemented, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := tc.controller.ControllerGetVolumeHealth(t.Context(), &csipb.ControllerGetVolumeHealthRequest{VolumeId: tc.handle})
			answered(t, answer.GetVolumeHealth(), err, tc.handle, tc.code, tc.want)
		})
	}
	for controller, want := range map[*Controller]bool{examined: true, unexamined: false} {
		if got := slices.Contains(controller.rpcs(), csipb.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH); got != want {
			t.Errorf("examined %v: announced %v", want, got)
		}
		if slices.Contains(controller.rpcs(), csipb.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH) {
			t.Error("a list is announced, which nothing answers")
		}
	}
}

func TestNode_Health(t *testing.T) {
	const root = "/var/lib/kubelet"
	m := measured{failed: root + "/failed", answers: map[string]error{
		root + "/well": nil, root + "/failed": nil,
		root + "/dead": fault.New(fault.Unavailable, "get stats", "fs-1", "the mount does not answer"),
		root + "/odd":  fault.New(fault.Internal, "get stats", "fs-1", "statfs: input/output error"),
	}}
	metered := NewNode(Node{Kind: volume.EFS, ID: "i-1", PathRoot: root, Volumes: StagedBy[volume.NFSPlan](m)})
	unmetered := NewNode(Node{Kind: volume.S3, ID: "i-1", Volumes: StagedBy[volume.ObjectPlan](&keyed{})})
	dead := []string{"INACCESSIBLE MountDoesNotAnswer get stats fs-1: the mount does not answer"}
	for name, tc := range map[string]struct {
		node                    *Node
		handle, publish, staged string
		code                    codes.Code
		want                    []string
	}{
		"it answers":         {metered, "fs-1", root + "/well", "", codes.OK, nil},
		"it does not answer": {metered, "fs-1", root + "/dead", "", codes.OK, dead},
		"the kernel found an error": {metered, "fs-1", root + "/failed", "", codes.OK, []string{"DEGRADED FileSystemError the kernel found an error in the file system at " +
			root + "/failed, and makes it read-only then (the node's kernel log says more); delete the pods that have it: it is checked and mounted again for the next one"}},
		"where it is staged only":                 {metered, "fs-1", "", root + "/dead", codes.OK, dead},
		"where it is published, if it is both":    {metered, "fs-1", root + "/well", root + "/dead", codes.OK, nil},
		"nowhere: nothing is known against it":    {metered, "fs-1", "", "", codes.OK, nil},
		"not where the caller says":               {metered, "fs-1", root + "/none", "", codes.NotFound, nil},
		"outside of where volumes are":            {metered, "fs-1", "/etc", "", codes.NotFound, nil},
		"another failure is no word about health": {metered, "fs-1", root + "/odd", "", codes.Internal, nil},
		"no handle":                          {metered, "", root + "/well", "", codes.InvalidArgument, nil},
		"a kind that has nothing to measure": {unmetered, "s3://bucket", "/s", "", codes.Unimplemented, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := tc.node.NodeGetVolumeHealth(t.Context(), &csipb.NodeGetVolumeHealthRequest{
				VolumeId: tc.handle, VolumePublishPath: tc.publish, StagingTargetPath: tc.staged,
			})
			answered(t, answer.GetVolumeHealth(), err, tc.handle, tc.code, tc.want)
		})
	}
	for node, want := range map[*Node]bool{metered: true, unmetered: false} {
		if got := slices.Contains(node.rpcs(), csipb.NodeServiceCapability_RPC_GET_VOLUME_HEALTH); got != want {
			t.Errorf("node of %s: announced %v", node.Kind, got)
		}
	}
}
