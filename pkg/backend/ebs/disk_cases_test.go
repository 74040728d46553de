package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Cases that the AWS CPI's own specs have, beyond those that stand elsewhere with the method.

func TestDisks_PassTheirPropertiesOn(t *testing.T) {
	t.Parallel()
	c := instant(t)
	first, _, err := c.client().Volume(t.Context(), c.create(t, volume.DiskRequest{Node: c.node(0), Parameters: map[string]string{"encrypted": "true"}}))
	if err != nil || first.KMSKey == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	id := c.create(t, volume.DiskRequest{
		Bytes: 100 * volume.GiB, Node: c.node(0),
		Parameters: map[string]string{"type": "gp3", "iops": "5000", "throughput": "250", "encrypted": "true", "kms_key_arn": first.KMSKey},
	})
	v, _, err := c.client().Volume(t.Context(), id)
	if err != nil || v.IOPS != 5000 || v.Throughput != 250 || v.KMSKey != first.KMSKey {
		t.Errorf("%+v, %v", v, err)
	}
	_, err = c.disks().CreateDisk(t.Context(), volume.DiskRequest{
		Bytes: volume.GiB, Node: c.node(0), Parameters: map[string]string{"encrypted": "true", "kms_key_arn": "arn:aws:kms:us-east-1:000000000000:key/none"},
	})
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "key/none cannot be used") || !strings.Contains(err.Error(), "kms:CreateGrant") {
		t.Errorf("a key that nobody has: %v", err)
	}
}

// TestDisks_WhatPassesIsWaitedFor: EC2 refuses once, for a reason that ends by itself.
func TestDisks_WhatPassesIsWaitedFor(t *testing.T) {
	t.Parallel()
	attach := func(c *cloud, id string) error {
		_, err := c.disks().AttachDisk(c.t.Context(), id, c.node(0))
		return err
	}
	for name, tc := range map[string]struct {
		operation, code string
		attached        bool // before
		do              func(c *cloud, id string) error
	}{
		"attach while the instance starts": {"AttachVolume", "IncorrectState", false, attach},
		"attach while it is held":          {"AttachVolume", "VolumeInUse", false, attach},
		"attach to what EC2 does not know": {"AttachVolume", "InvalidInstanceID.NotFound", false, attach},
		"attach what EC2 does not know":    {"AttachVolume", "InvalidVolume.NotFound", false, attach},
		"detach what EC2 does not know":    {"DetachVolume", "InvalidVolume.NotFound", true, func(c *cloud, id string) error { return c.disks().DetachDisk(c.t.Context(), id, c.node(0)) }},
		"delete while it is held":          {"DeleteVolume", "VolumeInUse", false, func(c *cloud, id string) error { return c.disks().DeleteDisk(c.t.Context(), id) }},
		"delete what EC2 does not know":    {"DeleteVolume", "InvalidVolume.NotFound", false, func(c *cloud, id string) error { return c.disks().DeleteDisk(c.t.Context(), id) }},
		"tag what EC2 does not know": {"CreateTags", "InvalidVolume.NotFound", false, func(c *cloud, id string) error {
			_, err := c.disks().TagDisk(c.t.Context(), id, map[string]string{"a": "b"})
			return err
		}},
		"snapshot of what EC2 does not know": {"CreateSnapshot", "InvalidVolume.NotFound", false, func(c *cloud, id string) error {
			_, err := c.disks().SnapshotDisk(c.t.Context(), volume.DiskSnapshot{Handle: id})
			return err
		}},
		"resize what EC2 does not know": {"ModifyVolume", "InvalidVolume.NotFound", false, func(c *cloud, id string) error {
			_, err := c.disks().ChangeDisk(c.t.Context(), id, volume.DiskChange{Bytes: 2 * volume.GiB})
			return err
		}},
		"resize a disk that is attached": {"ModifyVolume", "RequestLimitExceeded", true, func(c *cloud, id string) error {
			_, err := c.disks().ChangeDisk(c.t.Context(), id, volume.DiskChange{Bytes: 2 * volume.GiB})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := instant(t)
			id := c.create(t, volume.DiskRequest{Node: c.node(0)})
			if tc.attached {
				if err := attach(c, id); err != nil {
					t.Fatal(err)
				}
			}
			before := c.count(tc.operation)
			c.fault(emulator.Fault{Operation: tc.operation, Nth: 1, Effect: faults.Refuse, Code: tc.code})
			if err := tc.do(c, id); err != nil || c.count(tc.operation)-before != 2 {
				t.Errorf("%v, after %d calls", err, c.count(tc.operation)-before)
			}
		})
	}
}

// TestDisks_SnapshotWait: the point in time is fixed while EC2 still copies; whoever wants the copy complete waits.
func TestDisks_SnapshotWait(t *testing.T) {
	t.Parallel()
	for complete, speed := range map[bool]float64{false: 0.01, true: 10} {
		c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
		c.speed(10)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		c.speed(speed)
		s, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: id, Complete: complete})
		if err != nil {
			t.Fatal(err)
		}
		now := c.State().Snapshots
		if len(now) != 1 || now[0].ID != s.Handle || (now[0].State == "completed") != complete || now[0].Tags[ebs.TagUnconfirmed] != "" {
			t.Errorf("waiting %v: %+v", complete, now)
		}
	}
}

// TestDisks_WhatAnotherProcessDid a moment ago EC2 may not show yet: a deletion, a modification, an attachment.
func TestDisks_WhatAnotherProcessDid(t *testing.T) {
	t.Parallel()
	for seed := range int64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := lagging(t, seed)
			req := volume.DiskRequest{Name: "cache", Node: c.node(0)}
			first := c.create(t, req)
			if err := c.disks().DeleteDisk(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			second := c.create(t, req)
			if second == first || c.disk(t, second).state != "available" {
				t.Errorf("its name was deleted with %s, and answers %s, which is %+v", first, second, c.disk(t, second))
			}
			if again := c.create(t, req); again != second {
				t.Errorf("asked again, %s beside %s", again, second)
			}
			if err := c.client().ModifyVolume(t.Context(), second, ec2.Change{SizeGiB: 2}); err != nil { // and that process died
				t.Fatal(err)
			}
			if _, err := c.disks().ChangeDisk(t.Context(), second, volume.DiskChange{Bytes: 2 * volume.GiB}); err != nil || c.disk(t, second).gib != 2 {
				t.Errorf("%v; it has %d GiB", err, c.disk(t, second).gib)
			}
			if err := c.client().AttachVolume(t.Context(), second, c.node(0), "/dev/sdf"); err != nil { // and that one, too
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := c.disks().AttachDisk(ctx, second, c.node(0)); err != nil || c.disk(t, second).on != c.node(0) {
				t.Errorf("%v; it is on %q", err, c.disk(t, second).on)
			}
		})
	}
}

func TestDisks_HasDisk(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	c.speed(4)
	made, deleted := c.create(t, volume.DiskRequest{Node: c.node(0)}), c.create(t, volume.DiskRequest{Node: c.node(0)})
	if err := c.disks().DeleteDisk(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	for handle, want := range map[string]bool{made: true, deleted: false, "vol-00000000000000000": false, "vol-nonsense": false, "nonsense": false, "": false} {
		if has, err := c.disks().HasDisk(t.Context(), handle); err != nil || has != want {
			t.Errorf("%q: %v, %v", handle, has, err)
		}
	}
	if _, err := c.disks().HasDisk(t.Context(), "fs-0123abcd"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file system: %v", err)
	}
}

// TestDisks_AttachRefusesInEveryState: what must not be attached is not, and nothing is written on it, wherever it is.
func TestDisks_AttachRefusesInEveryState(t *testing.T) {
	t.Parallel()
	for name, tags := range map[string]map[string]string{
		"raw": {ebs.TagLayout: "raw"}, "a claim's": {"CSIVolumeName": "pvc-1"},
	} {
		for _, state := range []string{"creating", "available", "attached here", "detaching here", "attached elsewhere", "detaching elsewhere"} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
				c.speed(4)
				var id string
				if state == "creating" {
					id = c.foreign(tags)
				} else {
					id = c.create(t, volume.DiskRequest{Node: c.node(0)})
					if err := c.client().CreateTags(t.Context(), id, tags); err != nil {
						t.Fatal(err)
					}
				}
				node := c.node(0)
				if strings.HasSuffix(state, "elsewhere") {
					node = c.node(1)
				}
				if words := strings.Fields(state); len(words) == 2 {
					if err := c.client().AttachVolume(t.Context(), id, node, "/dev/sdh"); err != nil {
						t.Fatal(err)
					}
					if words[0] == "detaching" {
						if err := c.client().DetachVolume(t.Context(), id, node, false); err != nil {
							t.Fatal(err)
						}
					}
				}
				attached, tagged := c.count("AttachVolume"), c.count("CreateTags")
				_, err := c.disks().AttachDisk(t.Context(), id, c.node(0))
				if !fault.Is(err, fault.InUse) || c.count("AttachVolume") != attached || c.count("CreateTags") != tagged {
					t.Errorf("%v; %d attachments, %d tags", err, c.count("AttachVolume")-attached, c.count("CreateTags")-tagged)
				}
			})
		}
	}
}
