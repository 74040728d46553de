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

const director = "0f1e2d3c-aaaa"

// disks are what a Director's next call sees: a process of its own.
func (c *cloud) disks() *ebs.Disks {
	return ebs.NewDisks(c.client(), ebs.Options{}, ebs.DiskOptions{Director: director})
}

func (c *cloud) disk(t *testing.T, id string) emulatorVolume {
	t.Helper()
	for _, v := range c.State().Volumes {
		if v.ID == id {
			on := ""
			for _, a := range v.Attachments {
				on += a.Instance
			}
			return emulatorVolume{v.State, v.Tags, on, int64(v.SizeGiB)}
		}
	}
	return emulatorVolume{}
}

type emulatorVolume struct {
	state string
	tags  map[string]string
	on    string
	gib   int64
}

func (c *cloud) create(t *testing.T, req volume.DiskRequest) string {
	t.Helper()
	if req.Bytes == 0 {
		req.Bytes = volume.GiB
	}
	d, err := c.disks().CreateDisk(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return d.Handle
}

func TestDisks_CreateAsTheAWSCPIDoes(t *testing.T) {
	t.Parallel()
	c := instant(t)
	t.Run("defaults, rounded up, in the VM's zone", func(t *testing.T) {
		id := c.create(t, volume.DiskRequest{Bytes: 2049 << 20, Node: c.node(0)})
		v, _, err := c.client().Volume(t.Context(), id)
		if err != nil || v.Type != "gp3" || v.SizeGiB != 3 || v.Encrypted || v.Zone != "us-east-1a" {
			t.Errorf("%+v, %v", v, err)
		}
		if v.Tags[ebs.TagHolder] != "bosh:"+director || v.Tags[ebs.TagLayout] != "blank" || v.Tags[ebs.TagUnconfirmed] != "" {
			t.Errorf("tags %v", v.Tags)
		}
	})
	t.Run("type, iops, encryption and tags as they are given", func(t *testing.T) {
		id := c.create(t, volume.DiskRequest{
			Bytes: 100 << 30, Node: c.node(0), Parameters: map[string]string{"type": "io2", "iops": "500", "encrypted": "true"},
			Tags: map[string]string{"kubernetes.io/cluster/x": "owned", "team": "a"},
		})
		v, _, err := c.client().Volume(t.Context(), id)
		if err != nil || v.Type != "io2" || v.IOPS != 500 || !v.Encrypted || v.Tags["team"] != "a" || v.Tags["kubernetes.io/cluster/x"] != "owned" {
			t.Errorf("%+v, %v", v, err)
		}
	})
	t.Run("two equal calls are two disks", func(t *testing.T) {
		if a, b := c.create(t, volume.DiskRequest{Node: c.node(0)}), c.create(t, volume.DiskRequest{Node: c.node(0)}); a == b {
			t.Error("they are one")
		}
	})
	t.Run("without a VM the zone is said", func(t *testing.T) {
		d, err := c.disks().CreateDisk(t.Context(), volume.DiskRequest{Bytes: volume.GiB})
		if err != nil || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "made in zone us-east-1a") {
			t.Errorf("%+v, %v", d, err)
		}
	})
	for name, req := range map[string]volume.DiskRequest{
		"a reserved tag":    {Bytes: volume.GiB, Tags: map[string]string{"diskbridge.io/holder": "me"}},
		"iops without type": {Bytes: volume.GiB, Parameters: map[string]string{"type": "gp2", "iops": "100"}},
		"a type of nowhere": {Bytes: volume.GiB, Parameters: map[string]string{"type": "gp9"}},
		"half a key":        {Bytes: volume.GiB, Parameters: map[string]string{"encrypted": "false", "kmsKeyId": "k"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.disks().CreateDisk(t.Context(), req); !fault.Is(err, fault.Invalid) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := c.disks().CreateDisk(t.Context(), volume.DiskRequest{Bytes: volume.GiB, Node: "i-00000000000000000"}); !errors.Is(err, volume.ErrNoNode) {
		t.Errorf("a VM that does not exist: %v", err)
	}
}

func TestDisks_ANameIsOneDisk(t *testing.T) {
	t.Parallel()
	c := instant(t)
	req := volume.DiskRequest{Name: "cache", Bytes: volume.GiB, Node: c.node(0)}
	first := c.create(t, req)
	if again := c.create(t, req); again != first {
		t.Errorf("the same name made %s beside %s", again, first)
	}
	other := ebs.NewDisks(c.client(), ebs.Options{}, ebs.DiskOptions{Director: "another"})
	if d, err := other.CreateDisk(t.Context(), req); err != nil || d.Handle == first {
		t.Errorf("another Director's disk of this name: %+v, %v", d, err)
	}
	larger := req
	larger.Bytes = 2 * volume.GiB
	if _, err := c.disks().CreateDisk(t.Context(), larger); !fault.Is(err, fault.Conflict) {
		t.Errorf("another size under the name: %v", err)
	}
	if err := c.disks().DeleteDisk(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if again := c.create(t, req); again == first {
		t.Error("EC2's memory of the name answered the deleted disk")
	}
}

func TestDisks_AFailedCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]emulator.Fault{
		"refused":      {Operation: "CreateVolume", Effect: "refuse", Code: "VolumeLimitExceeded"},
		"never usable": {Operation: "DescribeVolumes", Effect: "refuse", Code: "UnauthorizedOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, emulator.Options{Profile: "reference"}, 50*time.Millisecond)
			c.fault(faults)
			_, err := c.disks().CreateDisk(t.Context(), volume.DiskRequest{Bytes: volume.GiB, Node: c.node(0)})
			if err == nil {
				t.Fatal("it succeeded")
			}
			for _, v := range c.State().Volumes {
				if v.State != "deleting" {
					t.Errorf("%s is left in state %s: %v", v.ID, v.State, err)
				}
			}
		})
	}
	t.Run("too slow", func(t *testing.T) {
		c := newCloud(t, emulator.Options{Profile: "reference"}, 50*time.Millisecond)
		if err := c.SetSpeed(0.3); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := c.disks().CreateDisk(ctx, volume.DiskRequest{Bytes: volume.GiB, Node: c.node(0)}); err == nil || !strings.Contains(err.Error(), "the disk was deleted again") {
			t.Errorf("%v", err)
		}
	})
}

func TestDisks_Delete(t *testing.T) {
	t.Parallel()
	c := instant(t)
	t.Run("the AWS CPI's disk, twice", func(t *testing.T) {
		id := c.foreign(nil)
		if err := c.disks().DeleteDisk(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := c.disks().DeleteDisk(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("the second time: %v", err)
		}
		if has, err := c.disks().HasDisk(t.Context(), id); has || err != nil {
			t.Errorf("has it: %v, %v", has, err)
		}
	})
	for name, tags := range map[string]map[string]string{
		"held by a cluster": {ebs.TagHolder: "kubernetes:prod/pv-1"}, "of a CSI driver": {"CSIVolumeName": "pvc-1"},
	} {
		t.Run(name, func(t *testing.T) {
			id := c.foreign(tags)
			err := c.disks().DeleteDisk(t.Context(), id)
			if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "so it is kept") || c.disk(t, id).state != "available" {
				t.Errorf("%v; the disk is %q", err, c.disk(t, id).state)
			}
		})
	}
	t.Run("another Director's", func(t *testing.T) {
		id := c.foreign(map[string]string{ebs.TagHolder: "bosh:other"})
		err := c.disks().DeleteDisk(t.Context(), id)
		if !fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), "diskbridge adopt "+id) || c.disk(t, id).state != "available" {
			t.Errorf("%v", err)
		}
	})
	t.Run("one that is attached and stays so", func(t *testing.T) {
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		if _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := c.disks().DeleteDisk(ctx, id); !fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), c.node(0)) {
			t.Errorf("%v", err)
		}
	})
}

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
			return c.disks().ChangeDisk(t.Context(), pvc.Handle, volume.DiskChange{Bytes: 9 * volume.GiB})
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

// TestDisks_UnderEventualConsistency: each call is a process that has seen nothing, while EC2 shows the past.
func TestDisks_UnderEventualConsistency(t *testing.T) {
	t.Parallel()
	for seed := range int64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := lagging(t, seed)
			ctx := t.Context()
			id := c.create(t, volume.DiskRequest{Node: c.node(0)})
			for i, step := range []func() error{
				func() error { return hasIt(c.disks().HasDisk(ctx, id)) },
				func() error { _, err := c.disks().AttachDisk(ctx, id, c.node(0)); return err },
				func() error { _, err := c.disks().AttachDisk(ctx, id, c.node(0)); return err },
				func() error { _, err := c.disks().TagDisk(ctx, id, map[string]string{"a": "b"}); return err },
				func() error { _, err := c.disks().SnapshotDisk(ctx, volume.DiskSnapshot{Handle: id}); return err },
				func() error { return c.disks().DetachDisk(ctx, id, c.node(0)) },
				func() error { return c.disks().ChangeDisk(ctx, id, volume.DiskChange{Bytes: 2 * volume.GiB}) },
				func() error { _, err := c.disks().AttachDisk(ctx, id, c.node(1)); return err },
				func() error { return c.disks().DetachDisk(ctx, id, c.node(1)) },
				func() error { return c.disks().DeleteDisk(ctx, id) },
			} {
				if err := step(); err != nil {
					t.Fatalf("step %d: %v", i+1, err)
				}
			}
			if v := c.disk(t, id); v.state != "" && v.state != "deleting" || len(c.State().Snapshots) != 1 {
				t.Errorf("%+v is left, and %d snapshots", v, len(c.State().Snapshots))
			}
		})
	}
}

func hasIt(has bool, err error) error {
	if err == nil && !has {
		err = errors.New("it is not there")
	}
	return err
}

func TestDisks_Tags(t *testing.T) {
	t.Parallel()
	c := instant(t)
	id := c.create(t, volume.DiskRequest{Node: c.node(0)})
	notes, err := c.disks().TagDisk(t.Context(), id, map[string]string{
		"director": "d", strings.Repeat("k", 200): strings.Repeat("v", 300), "diskbridge.io/layout": "raw", "aws:x": "y", "kubernetes.io/cluster/c": "owned",
	})
	tags := c.disk(t, id).tags
	if err != nil || len(notes) != 2 || tags["director"] != "d" || tags["kubernetes.io/cluster/c"] != "owned" || tags[ebs.TagLayout] != "blank" ||
		len(tags[strings.Repeat("k", 127)]) != 255 {
		t.Errorf("notes %v, tags %v, %v", notes, tags, err)
	}
	c.fault(emulator.Fault{Operation: "CreateTags", Nth: 1, Effect: "refuse", Code: "TagLimitExceeded"})
	if notes, err := c.disks().TagDisk(t.Context(), id, map[string]string{"a": "b"}); err != nil || len(notes) != 1 {
		t.Errorf("too many tags: %v, %v", notes, err)
	}
	if _, err := c.disks().TagDisk(t.Context(), "vol-00000000000000000", map[string]string{"a": "b"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("no disk: %v", err)
	}
}

func TestDisks_Snapshots(t *testing.T) {
	t.Parallel()
	c := instant(t)
	id := c.create(t, volume.DiskRequest{Node: c.node(0)})
	take := volume.DiskSnapshot{Handle: id, Description: "dep/job/0", DeviceTag: "device", Tags: map[string]string{"deployment": "dep"}}
	snapshot := func() emulatorSnapshot {
		t.Helper()
		s, err := c.disks().SnapshotDisk(t.Context(), take)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range c.State().Snapshots {
			if found.ID == s.Handle {
				return emulatorSnapshot{s.Handle, found.Tags}
			}
		}
		t.Fatalf("%s is not there", s.Handle)
		return emulatorSnapshot{}
	}
	one := snapshot()
	if one.tags["Name"] != "dep/job/0" || one.tags["device"] != "" || one.tags[ebs.TagLayout] != "blank" || one.tags[ebs.TagUnconfirmed] != "" {
		t.Errorf("of a disk that is not attached: %v", one.tags)
	}
	if _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); err != nil {
		t.Fatal(err)
	}
	two := snapshot()
	if two.tags["Name"] != "dep/job/0/sdf" || two.tags["device"] != "/dev/sdf" || two.tags[ebs.TagLayout] != "bosh" {
		t.Errorf("of an attached disk: %v", two.tags)
	}
	c.fault(emulator.Fault{Operation: "CreateSnapshot", Nth: 1, Effect: "drop-reply"})
	snapshot()
	if n := c.count("CreateSnapshot"); n != 3 {
		t.Errorf("a lost answer made a second snapshot: %d calls", n)
	}
	for range 2 {
		if err := c.disks().DeleteDiskSnapshot(t.Context(), one.id); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	take.Handle = "vol-00000000000000000"
	if _, err := c.disks().SnapshotDisk(t.Context(), take); !fault.Is(err, fault.NotFound) {
		t.Errorf("no disk: %v", err)
	}
}

type emulatorSnapshot struct {
	id   string
	tags map[string]string
}
