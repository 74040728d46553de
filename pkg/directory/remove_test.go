package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestRemove_FollowsNoLink: a folder above the directory has become a link to another's data.
func TestRemove_FollowsNoLink(t *testing.T) {
	for _, fate := range []volume.OnDelete{volume.Delete, volume.Archive} {
		s, d := newSystem(t), wanted("/base/prod", fate)
		if err := Make(s.Root, d); err != nil {
			t.Fatal(err)
		}
		s.write("elsewhere/prod/file")
		if err := errors.Join(os.Rename(s.dir+"/base", s.dir+"/moved"), os.Symlink("elsewhere", s.dir+"/base")); err != nil {
			t.Fatal(err)
		}
		wantKind(t, s.remove(d), fault.Conflict, "not a directory")
		if !s.has("elsewhere/prod/file") {
			t.Errorf("%s went through the link", fate)
		}
	}
}

// TestRemove_ArchivesOfOneNameStayApart: the same claim is made and deleted again and again.
func TestRemove_ArchivesOfOneNameStayApart(t *testing.T) {
	s, d := newSystem(t), wanted("/base/prod", volume.Archive)
	s.write("base/archived-prod-3") // of a user
	names := []string{"archived-prod", "archived-prod-2", "archived-prod-4", "archived-prod-5"}
	for i := range names {
		if err := Make(s.Root, d); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(s.dir + "/base/prod"); err != nil || len(entries) > 0 {
			t.Fatalf("volume %d sees %v (%v)", i, entries, err)
		}
		s.write(fmt.Sprintf("base/prod/%d", i))
		if err := errors.Join(s.remove(d), s.remove(d)); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		if !s.has(fmt.Sprintf("base/%s/%d", name, i)) {
			t.Errorf("the data of volume %d is not in %s", i, name)
		}
	}
}

// TestRemove_AnArchiveThatWasCutShortIsNoVolume: until it is done, a new volume of the name must not get the old files.
func TestRemove_AnArchiveThatWasCutShortIsNoVolume(t *testing.T) {
	s, d := newSystem(t), wanted("/base/prod", volume.Archive)
	if err := Make(s.Root, d); err != nil {
		t.Fatal(err)
	}
	s.write("base/prod/file")
	if err := errors.Join(os.Rename(s.dir+"/base/prod", s.dir+"/aside"), os.Symlink("../aside", s.dir+"/base/prod")); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.remove(d), fault.Conflict, "not a directory")
	if err := errors.Join(os.Remove(s.dir+"/base/prod"), os.Rename(s.dir+"/aside", s.dir+"/base/prod")); err != nil {
		t.Fatal(err)
	}
	wantKind(t, Make(s.Root, d), fault.InUse, "being removed")
	if err := s.remove(d); err != nil || !s.has("base/archived-prod/file") {
		t.Errorf("the second call: %v", err)
	}
}

// TestRemove_OnlyADirectory: its users have put something else where the volume's directory was.
func TestRemove_OnlyADirectory(t *testing.T) {
	replacements := map[string]func(path string) error{
		"a link to a neighbour":        func(path string) error { return os.Symlink("neighbour", path) },
		"a link from the root":         func(path string) error { return os.Symlink("/", path) },
		"a link to nothing":            func(path string) error { return os.Symlink("nothing", path) },
		"a link to the markers":        func(path string) error { return os.Symlink(".diskbridge", path) },
		"a file":                       func(path string) error { return os.WriteFile(path, []byte("text"), 0o600) },
		"a FIFO, which open waits for": func(path string) error { return unix.Mkfifo(path, 0o600) },
	}
	for name, replace := range replacements {
		for _, fate := range []volume.OnDelete{volume.Delete, volume.Archive} {
			t.Run(fmt.Sprint(fate, " of ", name), func(t *testing.T) {
				s, d := newSystem(t), wanted("/prod", fate)
				if err := errors.Join(Make(s.Root, d), Make(s.Root, wanted("/neighbour", fate))); err != nil {
					t.Fatal(err)
				}
				s.write("prod/ours")
				s.write("neighbour/file")
				if err := errors.Join(os.Rename(s.dir+"/prod", s.dir+"/moved"), replace(s.dir+"/prod")); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					wantKind(t, s.remove(d), fault.Conflict, "not a directory")
				}
				for _, left := range []string{"neighbour/file", "moved/ours", "prod", volume.MarkerPath("/prod")[1:], volume.MarkerPath("/neighbour")[1:]} {
					if !s.has(left) {
						t.Errorf("%s is gone", left)
					}
				}
				t.Run("and put right again it is removed", func(t *testing.T) {
					if err := errors.Join(os.Remove(s.dir+"/prod"), os.Rename(s.dir+"/moved", s.dir+"/prod"), s.remove(d)); err != nil || s.has("prod") || !s.has("neighbour/file") {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestRemove_NoLinkInPlaceOfTheMarkers: what lies behind a link is not proof of anything.
func TestRemove_NoLinkInPlaceOfTheMarkers(t *testing.T) {
	s, d := newSystem(t), wanted("/prod", volume.Delete)
	if err := Make(s.Root, d); err != nil {
		t.Fatal(err)
	}
	s.write("prod/file")
	if err := errors.Join(os.Rename(s.dir+volume.Reserved, s.dir+"/forged"), os.Symlink("forged", s.dir+volume.Reserved)); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.remove(d), fault.Conflict, "not a directory")
	wantKind(t, Make(s.Root, d), fault.Conflict, "not a directory")
	if !s.has("prod/file") {
		t.Error("the data is gone")
	}
}

// TestRemove_WhatWasMadeInItsPlaceStays: the directory itself is out of its users' sight already.
func TestRemove_WhatWasMadeInItsPlaceStays(t *testing.T) {
	s, d := newSystem(t), wanted("/prod", volume.Delete)
	if err := Make(s.Root, d); err != nil {
		t.Fatal(err)
	}
	s.write("prod/file")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, Remove(ctx, s.Root, removal(d), func(int) {}), fault.Pending, "next call")
	s.write("prod/theirs")
	if err := s.remove(d); err != nil || !s.has("prod/theirs") {
		t.Error("a directory that a user has made since is gone", err)
	}
	if left, err := os.ReadDir(s.dir + volume.Reserved); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// TestRemove_NamesAFileThatThisNodeHoldsOpen: the NFS client calls a file .nfs… that was deleted while open, and refuses to
// delete it (EBUSY) as the kernel refuses a mount point.
func TestRemove_NamesAFileThatThisNodeHoldsOpen(t *testing.T) {
	s, d := newSystem(t), wanted("/prod", volume.Delete)
	if err := Make(s.Root, d); err != nil {
		t.Fatal(err)
	}
	held := s.dir + "/prod/a/.nfs0000000000000001"
	s.write("prod/a/.nfs0000000000000001")
	s.write("prod/z")
	if err := unix.Mount(held, held, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	removed := filepath.Join(s.dir, volume.MarkerPath("/prod")+".removed")
	t.Cleanup(func() { _ = unix.Unmount(removed+"/a/.nfs0000000000000001", unix.MNT_DETACH) })
	err := s.remove(d)
	wantKind(t, err, fault.InUse, "a/.nfs0000000000000001")
	if !strings.Contains(err.Error(), "this node") {
		t.Errorf("%v does not say where", err)
	}
	if _, err := os.Lstat(removed + "/z"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the other files wait for it: %v", err)
	}
	if err := errors.Join(unix.Unmount(removed+"/a/.nfs0000000000000001", 0), s.remove(d)); err != nil {
		t.Errorf("closed: %v", err)
	}
}
