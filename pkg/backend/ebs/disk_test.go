package ebs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
	for what, change := range map[string]func(*volume.DiskRequest){
		"another size":     func(r *volume.DiskRequest) { r.Bytes = 2 * volume.GiB },
		"another VM":       func(r *volume.DiskRequest) { r.Node = c.node(1) },
		"another type":     func(r *volume.DiskRequest) { r.Parameters = map[string]string{"type": "gp2"} },
		"other tags":       func(r *volume.DiskRequest) { r.Tags = map[string]string{"team": "a"} },
		"other throughput": func(r *volume.DiskRequest) { r.Parameters = map[string]string{"throughput": "200"} },
	} {
		other := req
		change(&other)
		if d, err := c.disks().CreateDisk(t.Context(), other); err != nil || d.Handle == first || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "has the name") {
			t.Errorf("%s under the name: %+v, %v", what, d, err)
		}
	}
	if again := c.create(t, req); again != first {
		t.Errorf("the same name and request made %s beside %s", again, first)
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

// TestDisks_UnderEventualConsistency: each call is a process that has seen nothing, while EC2 shows the past.
func TestDisks_UnderEventualConsistency(t *testing.T) {
	t.Parallel()
	for seed := range int64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := lagging(t, seed)
			id := c.create(t, volume.DiskRequest{Node: c.node(0)})
			for i, step := range []func() error{
				func() error { return hasIt(c.disks().HasDisk(t.Context(), id)) },
				func() error { _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); return err },
				func() error { _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); return err },
				func() error { _, err := c.disks().TagDisk(t.Context(), id, map[string]string{"a": "b"}); return err },
				func() error {
					_, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: id})
					return err
				},
				func() error { return c.disks().DetachDisk(t.Context(), id, c.node(0)) },
				func() error {
					_, err := c.disks().ChangeDisk(t.Context(), id, volume.DiskChange{Bytes: 2 * volume.GiB})
					return err
				},
				func() error { _, err := c.disks().AttachDisk(t.Context(), id, c.node(1)); return err },
				func() error { return c.disks().DetachDisk(t.Context(), id, c.node(1)) },
				func() error { return c.disks().DeleteDisk(t.Context(), id) },
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
	if err != nil || len(notes) != 3 || tags["director"] != "d" || tags["kubernetes.io/cluster/c"] != "owned" || tags[ebs.TagLayout] != "blank" ||
		len(tags[strings.Repeat("k", 127)]) != 255 {
		t.Errorf("notes %v, tags %v, %v", notes, tags, err)
	}
	for _, code := range []string{"TagLimitExceeded", "InvalidParameterValue"} {
		c.fault(emulator.Fault{Operation: "CreateTags", Effect: "refuse", Code: code})
		if notes, err := c.disks().TagDisk(t.Context(), id, map[string]string{"a": "b", "b": "c"}); err != nil || len(notes) != 2 {
			t.Errorf("%s: %v, %v", code, notes, err)
		}
		c.ClearFaults()
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
