package ebs_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestKeeper_ADiskChangesHands from Kubernetes to BOSH and back.
func TestKeeper_ADiskChangesHands(t *testing.T) {
	t.Parallel()
	c := instant(t)
	k := ebs.NewKeeper(c.client())
	pvc := request("pvc-1", 1)
	pvc.Parameters = map[string]string{"layout": "bosh"}
	v, err := c.backend().Create(t.Context(), pvc)
	if err != nil {
		t.Fatal(err)
	}
	id := v.Handle
	if err := k.Adopt(t.Context(), id, "bosh:"+director); !fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), "diskbridge release "+id) {
		t.Errorf("adopted from Kubernetes: %v", err)
	}
	for _, step := range []error{k.Release(t.Context(), id), k.Release(t.Context(), id), k.Adopt(t.Context(), id, "bosh:"+director)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); err != nil {
		t.Errorf("BOSH: %v", err)
	}
	if err := k.Release(t.Context(), id); !fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), c.node(0)) {
		t.Errorf("released while it is attached: %v", err)
	}
	if err := c.disks().DetachDisk(t.Context(), id, c.node(0)); err != nil {
		t.Fatal(err)
	}
	if err := k.Adopt(t.Context(), id, "kubernetes:"+cluster+"/pv-1"); !fault.Is(err, fault.InUse) {
		t.Errorf("adopted from BOSH: %v", err)
	}
	for _, step := range []error{k.Release(t.Context(), id), k.Adopt(t.Context(), id, "kubernetes:"+cluster+"/pv-1")} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if _, err := c.backend().Publish(t.Context(), volume.PublishRequest{Handle: id, Node: c.node(0), Capability: writer}); err != nil {
		t.Errorf("Kubernetes: %v", err)
	}
	if list, err := k.Volumes(t.Context(), false); err != nil || len(list) != 1 || list[0].Holder != "kubernetes:"+cluster+"/pv-1" || list[0].Layout != "bosh" {
		t.Errorf("volumes: %v, %v", list, err)
	}
	for _, holder := range []string{"", "me", "bosh:", "bosh:a b", "kubernetes:x", "kubernetes:/y", "kubernetes:x/" + strings.Repeat("y", 256)} {
		if err := k.Adopt(t.Context(), id, holder); !fault.Is(err, fault.Invalid) {
			t.Errorf("holder %q: %v", holder, err)
		}
	}
}

func TestKeeper_Convert(t *testing.T) {
	t.Parallel()
	c := instant(t)
	k := ebs.NewKeeper(c.client())
	for tags, want := range map[string]fault.Kind{"": -1, "unknown": -1, "bosh": -1, "raw": fault.InUse, "blank": fault.InUse} {
		id := c.foreign(map[string]string{ebs.TagLayout: tags})
		err := k.Convert(t.Context(), id, "bosh")
		if want < 0 && (err != nil || c.disk(t, id).tags[ebs.TagLayout] != "bosh") || want >= 0 && !fault.Is(err, want) {
			t.Errorf("layout %q: %v, tags %v", tags, err, c.disk(t, id).tags)
		}
	}
	if err := k.Convert(t.Context(), c.foreign(nil), "raw"); !fault.Is(err, fault.Invalid) {
		t.Errorf("to raw: %v", err)
	}
}

func TestKeeper_Orphans(t *testing.T) {
	t.Parallel()
	c := instant(t)
	k := ebs.NewKeeper(c.client())
	c.create(t, volume.DiskRequest{Node: c.node(0)}) // never attached
	attached := c.create(t, volume.DiskRequest{Node: c.node(0)})
	if _, err := c.disks().AttachDisk(t.Context(), attached, c.node(0)); err != nil {
		t.Fatal(err)
	}
	answered, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: attached})
	if err != nil {
		t.Fatal(err)
	}
	left := c.create(t, volume.DiskRequest{Node: c.node(0)})
	lost, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: attached})
	for _, id := range []string{left, lost.Handle} { // as a process leaves them that is killed
		if err := errors.Join(err, c.client().CreateTags(t.Context(), id, map[string]string{ebs.TagUnconfirmed: "true"})); err != nil {
			t.Fatal(err)
		}
	}
	list, err := k.Orphans(t.Context())
	why := map[string]int{}
	for _, r := range list {
		why[r.Why]++
		if r.ID == attached || r.ID == answered.Handle {
			t.Errorf("an attached disk is listed: %v", r)
		}
	}
	if err != nil || len(list) != 3 || why["never attached"] != 1 || why["unconfirmed: create_disk did not answer"] != 1 || why["unconfirmed: snapshot_disk did not answer"] != 1 {
		t.Errorf("%v, %v; %s has no answer", list, err, left)
	}
	if _, err := c.disks().AttachDisk(t.Context(), left, c.node(0)); err != nil || c.disk(t, left).tags[ebs.TagUnconfirmed] != "" {
		t.Errorf("a disk that is used is no orphan: %v, %v", err, c.disk(t, left).tags)
	}
}

// TestKeeper_KubernetesOrphans: the answer to a CreateVolume is lost, and its claim (or the claim that it clones) is deleted:
// the provisioner never asks again, and nothing knows of the volume.
func TestKeeper_KubernetesOrphans(t *testing.T) {
	t.Parallel()
	c := instant(t)
	k, b := ebs.NewKeeper(c.client()), c.backend()
	make := func(name string) string {
		req := request(name, 1)
		req.Parameters = map[string]string{"csi.storage.k8s.io/pvc/name": "claim-" + name, "csi.storage.k8s.io/pvc/namespace": "team"}
		v, err := b.Create(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return v.Handle
	}
	bound, legacy, inTree, lost := make("bound"), make("legacy"), make("in-tree"), make("lost")
	clone := request("clone", 1)
	clone.Source.Volume, clone.Topology = bound, volume.Requirement{}
	copied, err := b.Create(t.Context(), clone)
	if err != nil {
		t.Fatal(err)
	}
	adopt := request("adopted", 1)
	adopt.Parameters = map[string]string{"existingResourceId": c.foreign(nil)}
	if _, err := b.Create(t.Context(), adopt); err != nil {
		t.Fatal(err)
	}
	c.foreign(map[string]string{ebs.TagCluster: "another", "kubernetes.io/created-for/pvc/name": "x"})
	c.foreign(map[string]string{ebs.TagCluster: cluster, "Name": "made by hand"})
	c.create(t, volume.DiskRequest{Node: c.node(0)}) // BOSH's

	handles := []string{bound, "aws://us-east-1a/" + legacy, inTree, "fs-0123456789abcdef0", "not a handle"}
	named := func(context.Context) ([]string, error) { return handles, nil }
	list := func(cluster string, before time.Time) (ids []string) {
		records, err := k.KubernetesOrphans(t.Context(), cluster, before, named)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			ids = append(ids, r.ID)
			if r.ID == lost && !strings.Contains(r.String(), "made for claim team/claim-lost") {
				t.Errorf("it says %q", r)
			}
		}
		slices.Sort(ids)
		return ids
	}
	want := []string{lost, copied.Handle}
	slices.Sort(want)
	if got := list(cluster, time.Now().Add(time.Minute)); !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	if got := list(cluster, time.Now().Add(-time.Hour)); len(got) != 0 {
		t.Errorf("of this moment: %v", got)
	}
	if got := list("nobody's", time.Now().Add(time.Minute)); len(got) != 0 {
		t.Errorf("of no cluster: %v", got)
	}
	if _, err := k.KubernetesOrphans(t.Context(), "", time.Now(), named); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a cluster: %v", err)
	}
	denied := func(context.Context) ([]string, error) { return nil, fault.New(fault.Denied, "list", "", "no") }
	if records, err := k.KubernetesOrphans(t.Context(), cluster, time.Now().Add(time.Minute), denied); !fault.Is(err, fault.Denied) || len(records) != 0 {
		t.Errorf("without the PersistentVolumes: %v, %v", records, err)
	}
	if n := c.count("DeleteVolume"); n != 0 {
		t.Errorf("%d deletions", n)
	}
}

// TestOrphans_ListNothingGood: where EC2 refuses to take the tag away that says that nobody was answered, what was answered
// is no orphan all the same.
func TestOrphans_ListNothingGood(t *testing.T) {
	t.Parallel()
	refuse := func(operation, code string) emulator.Fault {
		return emulator.Fault{Operation: operation, Effect: "refuse", Code: code}
	}
	for name, tc := range map[string]struct {
		faults   []emulator.Fault
		answered bool
	}{
		"once, in passing":          {[]emulator.Fault{{Operation: "DeleteTags", Nth: 1, Effect: "refuse", Code: "ConcurrentTagAccess"}}, true},
		"denied":                    {[]emulator.Fault{refuse("DeleteTags", "UnauthorizedOperation")}, true},
		"denied, as all other tags": {[]emulator.Fault{refuse("DeleteTags", "UnauthorizedOperation"), refuse("CreateTags", "UnauthorizedOperation")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := instant(t)
			id := c.create(t, volume.DiskRequest{Node: c.node(0)})
			if _, err := c.disks().AttachDisk(t.Context(), id, c.node(0)); err != nil {
				t.Fatal(err)
			}
			c.fault(tc.faults...)
			snapshot, err := c.disks().SnapshotDisk(t.Context(), volume.DiskSnapshot{Handle: id})
			disk, diskErr := c.disks().CreateDisk(t.Context(), volume.DiskRequest{Bytes: volume.GiB, Node: c.node(0)})
			if (err == nil) != tc.answered || (diskErr == nil) != tc.answered {
				t.Errorf("snapshot_disk: %+v, %v; create_disk: %+v, %v", snapshot, err, disk, diskErr)
			}
			c.ClearFaults()
			list, err := ebs.NewKeeper(c.client()).Orphans(t.Context())
			for _, r := range list {
				if r.Why != "never attached" {
					t.Errorf("it lists %v", r)
				}
			}
			if n := len(c.State().Snapshots); err != nil || (n == 1) != tc.answered {
				t.Errorf("%d snapshots, %v", n, err)
			}
		})
	}
}
