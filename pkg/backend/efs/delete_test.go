package efs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/efs"
	cloudefs "github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestDelete_TargetsFirst(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 100_000_000)
	if err := c.SetSpeed(20); err != nil {
		t.Fatal(err)
	}
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	for i := range 2 {
		if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(i), Capability: shared}); err != nil {
			t.Fatal(err)
		}
	}
	c.fault(emulator.Fault{Operation: "efs:DeleteFileSystem", Nth: 1, Effect: "refuse", Code: "FileSystemInUse"})
	_, err := b.Delete(t.Context(), v.Handle)
	wantFault(t, "EFS still counts", err, fault.Pending, "ask again")
	if kept, err := b.Delete(t.Context(), v.Handle); err != nil || kept != "" {
		t.Errorf("Delete = %q, %v", kept, err)
	}
	if left := c.State().FileSystems; len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

// TestDelete_AFailureKeepsWhatLeadsToTheData: a mount target that cannot be deleted leaves the file system and its tags.
func TestDelete_AFailureKeepsWhatLeadsToTheData(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared}); err != nil {
		t.Fatal(err)
	}
	c.fault(emulator.Fault{Operation: "efs:DeleteMountTarget", Nth: 1, Effect: "refuse", Code: "AccessDeniedException"})
	_, err := b.Delete(t.Context(), v.Handle)
	wantFault(t, "no permission", err, fault.Denied, "grant DeleteMountTarget")
	if c.fileSystem(v.Handle).Tags[backend.TagVolumeName] != "pvc-1" || c.count("efs:DeleteFileSystem") != 0 {
		t.Error("the file system was touched")
	}
	if _, err := b.Delete(t.Context(), v.Handle); err != nil {
		t.Error(err)
	}
}

func TestDelete_FatesOfAFileSystem(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	for fate, targets := range map[string]int{"retain": 1, "archive": 0} {
		v := mustCreate(t, b, "pvc-"+fate, map[string]string{"onDelete": fate})
		if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if kept, err := b.Delete(t.Context(), v.Handle); err != nil || kept == "" {
				t.Errorf("%s: %q, %v", fate, kept, err)
			}
		}
		if n := len(c.targets(v.Handle)); n != targets {
			t.Errorf("%s: %d mount targets are left, want %d", fate, n, targets)
		}
		if archived := c.fileSystem(v.Handle).Tags[efs.TagArchived]; (archived == "true") != (fate == "archive") {
			t.Errorf("%s: archived=%q", fate, archived)
		}
	}
	_, err := b.Create(t.Context(), request("pvc-archive", map[string]string{"onDelete": "archive"}))
	wantFault(t, "the name of an archived volume", err, fault.Conflict, "archived with its data")
}

// TestDelete_AnAccessPointThatWasJustDeleted is one that EFS still shows here and there.
func TestDelete_AnAccessPointThatWasJustDeleted(t *testing.T) {
	t.Parallel()
	for seed := range int64(3) {
		c := newCloud(t, emulator.Options{Window: 500 * time.Millisecond, Seed: seed}, 600*time.Millisecond)
		b := c.backend()
		v := mustCreate(t, b, "pvc-1", nil)
		a := mustCreate(t, b, "pvc-2", map[string]string{"provisioningMode": "accesspoint", "fileSystemId": v.Handle})
		for _, handle := range []string{a.Handle, v.Handle} {
			if _, err := c.backend().Delete(t.Context(), handle); err != nil {
				t.Errorf("seed %d: %s: %v", seed, handle, err)
			}
		}
	}
}

func TestDelete_RefusesWhatOthersUse(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	a := mustCreate(t, b, "pvc-2", map[string]string{"provisioningMode": "accesspoint", "fileSystemId": v.Handle})
	_, err := b.Delete(t.Context(), v.Handle)
	wantFault(t, "a file system with access points", err, fault.InUse, "has access points")
	_, err = b.Delete(t.Context(), v.Handle+":/data")
	wantFault(t, "a directory that nobody made", err, fault.InUse, "reclaim policy to Retain")
	for _, handle := range []string{a.Handle, a.Handle, v.Handle, "fs-00000000000000000:/a", "nonsense"} {
		if _, err := b.Delete(t.Context(), handle); err != nil {
			t.Errorf("Delete(%s): %v", handle, err)
		}
	}
	if left := c.ours(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	theirs := c.foreign("theirs", map[string]string{backend.TagCluster: "another"})
	_, err = b.Delete(t.Context(), theirs)
	wantFault(t, "another cluster's", err, fault.InUse, "aws efs tag-resource --resource-id "+theirs)
}

// TestAccessPoint_OfAnotherFileSystemIsNoVolume: every operation that is given file system B with a point of A.
func TestAccessPoint_OfAnotherFileSystemIsNoVolume(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	ours := mustCreate(t, b, "pvc-1", nil)
	a := mustCreate(t, b, "pvc-2", map[string]string{"provisioningMode": "accesspoint", "fileSystemId": ours.Handle})
	point := strings.TrimPrefix(a.Handle, ours.Handle+"::")
	other := mustCreate(t, b, "pvc-3", nil).Handle
	wrong := other + "::" + point
	option := shared
	option.MountFlags = []string{"tls", "accesspoint=" + point}
	for name, call := range map[string]func() error{
		"get":     func() error { _, err := b.Get(t.Context(), wrong); return err },
		"examine": func() error { _, err := b.Examine(t.Context(), wrong); return err },
		"expand": func() error {
			_, err := b.Expand(t.Context(), wrong, volume.Range{RequiredBytes: 9 * volume.GiB})
			return err
		},
		"publish": func() error {
			_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: wrong, Node: c.node(0), Capability: shared})
			return err
		},
		"publish by mount option": func() error {
			_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: other, Node: c.node(0), Capability: option})
			return err
		},
	} {
		wantFault(t, name, call(), fault.NotFound, "is one of file system "+ours.Handle)
	}
	_, err := b.Create(t.Context(), request("pvc-4", map[string]string{"existingResourceId": wrong}))
	wantFault(t, "adopt", err, fault.Invalid, "is one of file system "+ours.Handle)
	if kept, err := b.Delete(t.Context(), wrong); err != nil || kept != "" {
		t.Errorf("Delete = %q, %v: there is nothing to delete", kept, err)
	}
	if c.count("efs:DeleteAccessPoint") != 0 || c.count("efs:TagResource") != 0 || len(c.targets(other)) != 0 {
		t.Error("something was written")
	}
	if got, err := b.Get(t.Context(), a.Handle); err != nil || got.Bytes != volume.GiB {
		t.Errorf("the true volume: %+v, %v", got, err)
	}
	if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: ours.Handle, Node: c.node(0), Capability: option}); err != nil {
		t.Errorf("the mount option beside its own file system: %v", err)
	}
}

func TestDirectory_FollowsFromTheRequest(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	fs := c.foreign("given", map[string]string{"Name": "given"})
	parameters := map[string]string{
		"provisioningMode": "directory", "fileSystemId": fs, "basePath": "volumes/", "subPathPattern": "${.PVC.namespace}/${.PVC.name}", "gid": "7", "onDelete": "delete",
		"csi.storage.k8s.io/pvc/name": "claim", "csi.storage.k8s.io/pvc/namespace": "team",
	}
	v, again := mustCreate(t, b, "pvc-1", parameters), mustCreate(t, c.backend(), "pvc-1", parameters)
	if v.Handle != again.Handle || v.Bytes != volume.GiB || c.count("efs:TagResource") != 0 {
		t.Errorf("%+v, then %+v", v, again)
	}
	plan, err := volume.NewNFSPlan(volume.PlanRequest{Handle: v.Handle, Context: v.Context, Publish: map[string]string{volume.PublishAddress: "10.0.0.1"}, Capability: shared})
	if err != nil || plan.Create == nil || plan.Create.Cluster != cluster || plan.Create.Owner.GID != 7 || plan.Create.OnDelete != volume.Delete || plan.Directory[:20] != "/volumes/team/claim-" {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	if other := mustCreate(t, b, "pvc-2", parameters); other.Handle == v.Handle {
		t.Error("two volumes have one directory")
	}
	if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared, Context: v.Context}); err != nil {
		t.Error(err)
	}
	if n, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 5 * volume.GiB}); err != nil || n != 5*volume.GiB {
		t.Errorf("Expand = %d, %v", n, err)
	}
	for range 2 {
		if kept, err := b.Delete(t.Context(), v.Handle); err != nil {
			t.Errorf("Delete = %q, %v", kept, err)
		}
	}
	removals := volume.Removals(fs, c.fileSystem(fs).Tags)
	if len(removals) != 1 || removals[0].Path != plan.Directory || removals[0].Digest != plan.Create.Digest() || c.count("efs:TagResource") != 1 {
		t.Errorf("removals %+v", removals)
	}
	_, err = b.Create(t.Context(), request("pvc-1", parameters))
	wantFault(t, "the name again, before the janitor was there", err, fault.Pending, "still to be removed")
}

// TestDirectory_LongNamesAreHashed: a handle has 128 bytes.
func TestDirectory_LongNamesAreHashed(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	fs := c.foreign("given", nil)
	var handles []string
	for _, last := range []string{"a", "b"} {
		parameters := map[string]string{"provisioningMode": "directory", "fileSystemId": fs, "basePath": "/b",
			"subPathPattern": "${.PVC.name}", "csi.storage.k8s.io/pvc/name": "a-name-of-a-claim-that-is-so-long-that-no-handle-has-room-for-it-and-then-some-" + last}
		handles = append(handles, mustCreate(t, b, "pvc-"+last, parameters).Handle)
	}
	for _, h := range handles {
		if p, err := volume.ParseHandle(h); err != nil || p.Path[:3] != "/b/" {
			t.Errorf("handle %q: %v", h, err)
		}
	}
	if slices.Equal(handles[:1], handles[1:]) {
		t.Error("two names have one handle")
	}
}

// TestDelete_TheJanitorsQueueIsBounded: a file system has 50 tags.
func TestDelete_TheJanitorsQueueIsBounded(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	fs := c.foreign("given", nil)
	var last error
	var handle string
	for i := range 51 {
		handle = volume.Directory{Cluster: cluster, Name: "pvc", Path: fmt.Sprint("/", i), OnDelete: volume.Delete}.Handle(fs).String()
		if _, last = b.Delete(t.Context(), handle); last != nil {
			break
		}
	}
	if odd, err := b.Delete(t.Context(), volume.Directory{Cluster: cluster, Name: "pvc", Path: "/a#b", OnDelete: volume.Delete}.Handle(c.foreign("odd", nil)).String()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a path that no tag can have: %q, %v", odd, err)
	}
	wantFault(t, "the fifty-first", last, fault.Unavailable, "start diskbridge-csi janitor")
	removals := volume.Removals(fs, c.fileSystem(fs).Tags)
	if all, err := b.Removals(t.Context()); err != nil || !slices.Equal(all, removals) {
		t.Errorf("Removals = %v, %v; the tags say %v", all, err, removals)
	}
	other := efs.New(c.client(), nil, efs.Options{Owner: backend.Owner{Driver: efs.DefaultDriver, Cluster: "another"}})
	if all, err := other.Removals(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("another cluster is asked for %v, %v", all, err)
	}
	for range 2 {
		if err := b.Removed(t.Context(), removals[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Removed(t.Context(), volume.Removal{FileSystem: "fs-00000000000000000", Digest: "0123456789abcdef"}); err != nil {
		t.Errorf("in a file system that is gone: %v", err)
	}
	if _, err := b.Delete(t.Context(), handle); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestModify_Throughput(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", nil)
	for range 2 {
		if err := b.Modify(t.Context(), v.Handle, map[string]string{"throughputMode": "elastic"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.count("efs:UpdateFileSystem"); n != 1 || c.fileSystem(v.Handle).Throughput != "elastic" {
		t.Errorf("%d calls, now %s", n, c.fileSystem(v.Handle).Throughput)
	}
	wantFault(t, "too soon", b.Modify(t.Context(), v.Handle, map[string]string{"throughputMode": "bursting"}), fault.FailedPrecondition, "24 hours")
	wantFault(t, "no number", b.Modify(t.Context(), v.Handle, map[string]string{"throughputMode": "provisioned"}), fault.Invalid, "provisionedThroughputInMibps")
	wantFault(t, "no such parameter", b.Modify(t.Context(), v.Handle, map[string]string{"iops": "3"}), fault.Invalid, "iops")
	wantFault(t, "a directory", b.Modify(t.Context(), v.Handle+":/a", map[string]string{"throughputMode": "elastic"}), fault.Invalid, "shares with others")
	slow := mustCreate(t, b, "pvc-2", map[string]string{"performanceMode": "maxIO"})
	wantFault(t, "maxIO", b.Modify(t.Context(), slow.Handle, map[string]string{"throughputMode": "elastic"}), fault.Invalid, "maxIO")
}

// TestClient_SharesReads: a few file systems are read one by one, many by walking through all.
func TestClient_SharesReads(t *testing.T) {
	t.Parallel()
	c := instant(t)
	client := c.client()
	var ids []string
	for i := range 8 {
		ids = append(ids, c.foreign(string(rune('a'+i)), nil))
	}
	before := c.count("efs:DescribeFileSystems")
	answers := make(chan error, len(ids))
	for _, id := range ids {
		go func() {
			f, found, err := client.FileSystem(t.Context(), id)
			if err == nil && (!found || f.ID != id) {
				err = fault.New(fault.Internal, "read", id, "got %+v", f)
			}
			answers <- err
		}()
	}
	for range ids {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := c.count("efs:DescribeFileSystems") - before; n >= len(ids) {
		t.Errorf("%d callers caused %d calls", len(ids), n)
	}
	if _, found, err := client.FileSystemByToken(t.Context(), "a"); err != nil || !found {
		t.Errorf("by token: %v, %v", found, err)
	}
	if list, err := client.MountTargets(t.Context(), "fs-00000000000000000"); err != nil || len(list) != 0 {
		t.Errorf("targets of nothing: %v, %v", list, err)
	}
	var _ efs.API = (*cloudefs.Client)(nil)
}
