package efs_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestPublish_OneTargetForEachZone(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	for i, zone := range []string{"us-east-1a", "us-east-1b"} {
		got, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(i), Capability: shared})
		if m := c.targets(v.Handle)[zone]; err != nil || m.IP == "" || got[volume.PublishAddress] != m.IP {
			t.Errorf("%s: %v, %v; want %+v", zone, got, err, m)
		}
	}
	made := c.count("efs:CreateMountTarget")
	if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared}); err != nil || c.count("efs:CreateMountTarget") != made {
		t.Errorf("what is there is made again: %v", err)
	}
}

// TestPublish_SingleFlight: many nodes of one zone at once cause one call, also from several processes.
func TestPublish_SingleFlight(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference, Instances: 6, Zones: []string{"us-east-1a"}}, 100*time.Millisecond)
	if err := c.SetSpeed(10); err != nil {
		t.Fatal(err)
	}
	first, second := c.backend(), c.backend()
	v := mustCreate(t, first, "pvc-1", nil)
	answers := make([]map[string]string, 12)
	var group sync.WaitGroup
	for i := range answers {
		b := first
		if i%2 == 1 {
			b = second
		}
		group.Go(func() {
			var err error
			if answers[i], err = b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(i % 6), Capability: shared}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if calls := c.Calls()["efs:CreateMountTarget"]; calls.OK != 1 || calls.OK+calls.Error > 4 {
		t.Errorf("CreateMountTarget was called %+v", calls)
	}
	for _, a := range answers {
		if a[volume.PublishAddress] != answers[0][volume.PublishAddress] {
			t.Errorf("answers differ: %v", answers)
		}
	}
}

func TestPublish_WaitsAreBoundedAndResumable(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Realistic, Window: time.Millisecond}, 100*time.Millisecond)
	if err := c.SetSpeed(4); err != nil {
		t.Fatal(err)
	}
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	req := volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	// On a busy machine the deadline may come before the first answer; either way the caller repeats.
	if _, err := b.Publish(ctx, req); !fault.Is(err, fault.Pending) && !fault.Is(err, fault.Unavailable) {
		t.Errorf("a short deadline: %v (kind %v)", err, fault.KindOf(err))
	}
	if err := c.SetSpeed(100); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Publish(t.Context(), req); err != nil || got[volume.PublishAddress] == "" {
		t.Errorf("the same request: %v, %v", got, err)
	}
	if n := c.Calls()["efs:CreateMountTarget"].OK; n != 1 {
		t.Errorf("%d mount targets were made", n)
	}
}

func TestPublish_Refused(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	publish := func(handle, node string, context map[string]string) error {
		_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: handle, Node: node, Capability: shared, Context: context})
		return err
	}
	narrow := c.group("narrow", defaultVPC, "192.0.2.0/24")
	wantFault(t, "a group that does not let this node in", publish(v.Handle, c.node(0), map[string]string{"securityGroupIds": narrow}), fault.InUse, "lets TCP 2049 in from this node")
	wantFault(t, "no subnet in the zone", publish(v.Handle, c.node(1), map[string]string{"subnetIds": "subnet-00000000000000001"}), fault.InUse, "is in zone us-east-1b")
	wantFault(t, "a context that was changed", publish(v.Handle, c.node(0), map[string]string{"subnetIds": "subnet-x y"}), fault.Invalid, "not of the form")
	wantFault(t, "a missing node", publish(v.Handle, "i-00000000000000000", nil), fault.NotFound, "does not exist")
	wantFault(t, "no node at all", publish(v.Handle, "node-1", nil), fault.NotFound, "node ids are i-…")
	wantFault(t, "a missing access point", publish(v.Handle+"::fsap-00000000000000000", c.node(0), nil), fault.NotFound, "access point")
	if len(c.targets(v.Handle)) != 0 {
		t.Errorf("refused, and yet made: %v", c.targets(v.Handle))
	}
	// A mount target in another network cannot be joined by one in this.
	other := c.otherVPC()
	subnet, group := c.subnet(other, "us-east-1a", "10.9.0.0/28"), c.group("open", other, "0.0.0.0/0")
	if _, err := c.client().CreateMountTarget(t.Context(), v.Handle, subnet, []string{group}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "another VPC", publish(v.Handle, c.node(0), nil), fault.InUse, "a file system serves one VPC")
}

// TestPublish_ChecksTheGroupsOfATargetThatExists: whoever made it.
func TestPublish_ChecksTheGroupsOfATargetThatExists(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	closed := c.group("closed", defaultVPC)
	if _, err := c.client().CreateMountTarget(t.Context(), v.Handle, "subnet-00000000000000001", []string{closed}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared})
	wantFault(t, "a closed mount target", err, fault.InUse, "no security group of mount target fsmt-")
}

func TestExamine(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	if got, err := b.Examine(t.Context(), v.Handle); err != nil || len(got) > 0 {
		t.Errorf("a healthy one: %v, %v", got, err)
	}
	c.fault(emulator.Fault{Operation: "efs:CreateMountTarget", Nth: 1, Effect: "fail-later"})
	_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared})
	wantFault(t, "a mount target that EFS could not make", err, fault.InUse, "delete it and try again")
	got, err := b.Examine(t.Context(), v.Handle)
	if err != nil || len(got) != 1 || got[0].Reason != "MountTargetError" || got[0].Inaccessible || !strings.Contains(got[0].Message, "us-east-1a") {
		t.Errorf("with a broken mount target: %+v, %v", got, err)
	}
	c.fault(emulator.Fault{Operation: "efs:CreateFileSystem", Nth: 1, Effect: "fail-later"})
	_, err = b.Create(t.Context(), request("pvc-2", nil))
	wantFault(t, "a file system that EFS could not make", err, fault.InUse, "error")
	for _, f := range c.State().FileSystems {
		if f.ID == v.Handle {
			continue
		}
		if got, err := b.Examine(t.Context(), f.ID); err != nil || len(got) != 1 || got[0].Reason != "FileSystemError" || !got[0].Inaccessible {
			t.Errorf("a broken file system: %+v, %v", got, err)
		}
	}
	_, err = b.Examine(t.Context(), "fs-00000000")
	wantFault(t, "none", err, fault.NotFound, "does not exist")
}

// TestPublish_ReadsTheContextAsTheNodeDoes: a mistyped key must not choose another subnet in silence.
func TestPublish_ReadsTheContextAsTheNodeDoes(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	for key, want := range map[string]string{"subnetId": `did you mean "subnetIds"`, "SubnetIDs": `parameter subnetIds: "none"`, "encryptInTransti": `did you mean "encryptInTransit"`} {
		_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared, Context: map[string]string{key: "none"}})
		wantFault(t, key, err, fault.Invalid, want)
	}
	if n := len(c.targets(v.Handle)); n != 0 {
		t.Errorf("%d mount targets were made", n)
	}
}
