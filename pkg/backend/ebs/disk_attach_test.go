package ebs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestDisks_AttachAndDetach(t *testing.T) {
	t.Parallel()
	c := instant(t)
	id := c.create(t, volume.DiskRequest{Node: c.node(0)})
	want := "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(id, "-", "")
	for range 2 { // cck attaches again
		a, err := c.disks().AttachDisk(t.Context(), id, c.node(0))
		if err != nil || a.Hint != want {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	if n := c.count("AttachVolume"); n != 1 {
		t.Errorf("%d attachments were asked for", n)
	}
	if tags := c.disk(t, id).tags; tags[ebs.TagLayout] != "bosh" || tags[ebs.TagHolder] != "bosh:"+director {
		t.Errorf("tags %v", tags)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := c.disks().AttachDisk(ctx, id, c.node(1)); !fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), "attached to instance "+c.node(0)) {
		t.Errorf("to another VM: %v", err)
	}
	if err := c.disks().DetachDisk(t.Context(), id, c.node(1)); !errors.Is(err, volume.ErrNotAttached) {
		t.Errorf("from another VM: %v", err)
	}
	if err := c.disks().DetachDisk(t.Context(), id, c.node(0)); err != nil {
		t.Fatal(err)
	}
	if err := c.disks().DetachDisk(t.Context(), id, c.node(0)); !errors.Is(err, volume.ErrNotAttached) {
		t.Errorf("detached twice: %v", err)
	}
	if err := c.disks().DetachDisk(t.Context(), "vol-00000000000000000", c.node(0)); err != nil {
		t.Errorf("a disk that is gone: %v", err)
	}
	for _, vm := range []string{"i-00000000000000000", "vm-1"} {
		if err := c.disks().DetachDisk(t.Context(), id, vm); !errors.Is(err, volume.ErrNoNode) {
			t.Errorf("VM %s: %v", vm, err)
		}
		if _, err := c.disks().AttachDisk(t.Context(), id, vm); !errors.Is(err, volume.ErrNoNode) {
			t.Errorf("VM %s: %v", vm, err)
		}
	}
	if _, err := c.disks().AttachDisk(t.Context(), "vol-00000000000000000", c.node(0)); !fault.Is(err, fault.NotFound) || errors.Is(err, volume.ErrNoNode) {
		t.Errorf("no disk: %v", err)
	}
}

func TestDisks_AttachWaitsForTheOldVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: "reference"}, 50*time.Millisecond)
	if err := c.SetSpeed(5); err != nil {
		t.Fatal(err)
	}
	id := c.create(t, volume.DiskRequest{Node: c.node(0)})
	if _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); err != nil {
		t.Fatal(err)
	}
	c.terminate(c.node(0)) // as delete_vm does, which lets go of persistent disks
	if _, err := c.disks().AttachDisk(t.Context(), id, c.node(1)); err != nil || c.disk(t, id).on != c.node(1) {
		t.Errorf("%v; it is on %q", err, c.disk(t, id).on)
	}
}

// TestDisks_TwoDoorsOnOneVM: a VM that is a Kubernetes node too carries volumes of both, whose names do not meet.
func TestDisks_TwoDoorsOnOneVM(t *testing.T) {
	t.Parallel()
	c := instant(t)
	k8s := c.backend()
	pvc := mustCreate(t, k8s, "pvc-1")
	disk := c.create(t, volume.DiskRequest{Node: c.node(0)})
	if _, err := c.disks().AttachDisk(t.Context(), disk, c.node(0)); err != nil {
		t.Fatal(err)
	}
	publish := volume.PublishRequest{Handle: pvc.Handle, Node: c.node(0), Capability: writer}
	if _, err := k8s.Publish(t.Context(), publish); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"Kubernetes takes BOSH's disk": func() error {
			_, err := k8s.Publish(t.Context(), volume.PublishRequest{Handle: disk, Node: c.node(0), Capability: writer})
			return err
		},
		"BOSH takes Kubernetes' volume": func() error { _, err := c.disks().AttachDisk(t.Context(), pvc.Handle, c.node(0)); return err },
		"BOSH changes Kubernetes' volume": func() error {
			_, err := c.disks().ChangeDisk(t.Context(), pvc.Handle, volume.DiskChange{Bytes: 9 * volume.GiB})
			return err
		},
		"BOSH detaches Kubernetes' volume": func() error { return c.disks().DetachDisk(t.Context(), pvc.Handle, c.node(0)) },
	} {
		if err := try(); !fault.Is(err, fault.InUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := c.disks().NodeDisks(t.Context(), c.node(0)); err != nil || len(list) != 1 || list[0] != disk {
		t.Errorf("get_disks: %v, %v", list, err)
	}
	if kept, err := k8s.Delete(t.Context(), disk); err != nil || kept == "" {
		t.Errorf("Kubernetes deletes BOSH's disk: %q, %v", kept, err)
	}
}

// TestDisks_TwoDoorsAtOneTime: both ask for device names of one VM in the same moment, each in processes of its own.
func TestDisks_TwoDoorsAtOneTime(t *testing.T) {
	t.Parallel()
	c := instant(t)
	var attach []func() error
	for i := range 4 {
		pvc, disk := mustCreate(t, c.backend(), fmt.Sprint("pvc-", i)).Handle, c.create(t, volume.DiskRequest{Node: c.node(0)})
		k8s, bosh := c.backend(), c.disks()
		attach = append(attach, func() error {
			_, err := k8s.Publish(t.Context(), volume.PublishRequest{Handle: pvc, Node: c.node(0), Capability: writer})
			return err
		}, func() error { _, err := bosh.AttachDisk(t.Context(), disk, c.node(0)); return err })
	}
	answers := make(chan error)
	for _, one := range attach {
		go func() { answers <- one() }()
	}
	for range attach {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	devices := map[string]bool{}
	for _, v := range c.State().Volumes {
		for _, a := range v.Attachments {
			devices[a.Device] = true
		}
	}
	if len(devices) != len(attach) {
		t.Errorf("%d disks are attached as %v", len(attach), devices)
	}
}

// TestDisks_NodeDisks: the root volume and the ephemeral disk are the VM's own.
func TestDisks_NodeDisks(t *testing.T) {
	t.Parallel()
	c := instant(t)
	out, err := c.sdk().RunInstances(t.Context(), &sdk.RunInstancesInput{
		ImageId: sdkaws.String("ami-1"), InstanceType: types.InstanceTypeM5Large, MinCount: sdkaws.Int32(1), MaxCount: sdkaws.Int32(1),
		Placement: &types.Placement{AvailabilityZone: sdkaws.String("us-east-1a")},
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: sdkaws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{
			VolumeSize: sdkaws.Int32(10), DeleteOnTermination: sdkaws.Bool(true)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	vm := *out.Instances[0].InstanceId
	disk := c.create(t, volume.DiskRequest{Node: vm})
	if _, err := c.disks().AttachDisk(t.Context(), disk, vm); err != nil {
		t.Fatal(err)
	}
	if list, err := c.disks().NodeDisks(t.Context(), vm); err != nil || len(list) != 1 || list[0] != disk {
		t.Errorf("%v, %v; want only %s", list, err, disk)
	}
	if inst, _, err := c.client().Instance(t.Context(), vm); err != nil || len(inst.Attachments) != 2 {
		t.Errorf("the VM shows %+v, %v; this test compares nothing", inst.Attachments, err)
	}
	if _, err := c.disks().NodeDisks(t.Context(), "i-00000000000000000"); !errors.Is(err, volume.ErrNoNode) {
		t.Errorf("no VM: %v", err)
	}
}

func TestDisks_NamesRunOut(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{InstanceType: "t2.micro", Profile: emulator.Instant}, 50*time.Millisecond)
	for i := range 12 {
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		a, err := c.disks().AttachDisk(t.Context(), id, c.node(0))
		if i < 11 && (err != nil || a.Hint != "/dev/sd"+string(rune('f'+i))) {
			t.Fatalf("disk %d: %+v, %v", i+1, a, err)
		}
		if i == 11 && (!fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), "too many disks attached")) {
			t.Errorf("disk 12: %v", err)
		}
	}
}

// TestDisks_AttachInEveryState: whatever EC2 does with the disk at this moment, the answer is an attachment or the reason.
func TestDisks_AttachInEveryState(t *testing.T) {
	t.Parallel()
	type cloudState func(t *testing.T, c *cloud, id string)
	attach := func(node int) cloudState {
		return func(t *testing.T, c *cloud, id string) {
			t.Helper()
			if err := c.client().AttachVolume(t.Context(), id, c.node(node), "/dev/sdh"); err != nil {
				t.Fatal(err)
			}
		}
	}
	detach := func(node int) cloudState {
		return func(t *testing.T, c *cloud, id string) {
			t.Helper()
			attach(node)(t, c, id)
			if err := c.client().DetachVolume(t.Context(), id, c.node(node), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		fresh   bool // EC2 still creates it
		state   cloudState
		refused fault.Kind // -1: it is attached
	}{
		"creating":            {true, nil, -1},
		"available":           {false, nil, -1},
		"attaching here":      {false, attach(0), -1},
		"detaching here":      {false, detach(0), -1},
		"detaching elsewhere": {false, detach(1), -1},
		"attached elsewhere":  {false, attach(1), fault.InUse},
		"deleting": {false, func(t *testing.T, c *cloud, id string) {
			t.Helper()
			if err := c.client().DeleteVolume(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}, fault.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
			c.speed(4)
			var id string
			if tc.fresh {
				id = c.foreign(nil)
			} else {
				id = c.create(t, volume.DiskRequest{Node: c.node(0)})
			}
			if tc.state != nil {
				tc.state(t, c, id)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := c.disks().AttachDisk(ctx, id, c.node(0))
			if tc.refused < 0 && (err != nil || c.disk(t, id).on != c.node(0)) || tc.refused >= 0 && !fault.Is(err, tc.refused) {
				t.Errorf("%v; it is on %q", err, c.disk(t, id).on)
			}
		})
	}
}
