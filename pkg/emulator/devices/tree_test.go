package devices

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

const (
	vol  = "vol-0123456789abcdef0"
	vol2 = "vol-0fedcba9876543210"
	snap = "snap-0123456789abcdef0"
	one  = "i-0aaaaaaaaaaaaaaa1"
	two  = "i-0aaaaaaaaaaaaaaa2"
	mib  = 1 << 20
)

// open makes a tree in a fresh folder. As root, a machine that cannot make loop devices fails the test.
func open(t *testing.T) *Tree {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	return reopen(t, t.TempDir())
}

func reopen(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = tree.Close()
		left, err := backedBy(filepath.Join(tree.dir, "images"))
		if err != nil || len(left) > 0 {
			t.Errorf("loop devices left: %v, %v", left, err)
		}
	})
	return tree
}

// crash gives the folder up as a killed process does: everything else stays.
func crash(t *testing.T, tree *Tree) string {
	t.Helper()
	tree.stop()
	<-tree.watched
	must(t, tree.lock.Close())
	tree.loops = map[string]int{}
	return tree.dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func attached(t *testing.T, tree *Tree, instance, volume string, size int64) (node string) {
	t.Helper()
	must(t, tree.AddInstance(t.Context(), instance))
	must(t, tree.CreateVolume(t.Context(), volume, size))
	must(t, tree.Attach(t.Context(), instance, volume))
	return tree.instance(instance).path("dev/nvme1n1")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}

func writeAt(t *testing.T, path string, content []byte, off int64) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteAt(content, off)
	must(t, err)
	return f
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func mountExt4(t *testing.T, node string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	run(t, "mkfs.ext4", "-q", node)
	must(t, unix.Mount(node, dir, "ext4", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func devno(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Rdev
}

func TestTree_AttachShowsTheVolumeAsNitroDoes(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 8*mib)
	dev, sys := tree.Roots(one)

	for path, want := range map[string]string{
		"class/block/nvme1n1/device/serial": "vol0123456789abcdef0",
		"class/block/nvme1n1/device/model":  "Amazon Elastic Block Store",
		"block/nvme1n1/size":                "16384",
		"block/nvme1n1/ro":                  "0",
		"class/nvme/nvme1/serial":           "vol0123456789abcdef0",
		"class/nvme/nvme0/model":            "Amazon Elastic Block Store",
	} {
		if got := strings.TrimSpace(readFile(t, filepath.Join(sys, path))); got != want {
			t.Errorf("%s = %q, want %q", path, got, want)
		}
	}
	link := filepath.Join(dev, "disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0")
	if devno(t, link) != devno(t, node) {
		t.Error("the by-id link leads elsewhere")
	}
	f := writeAt(t, node, []byte("through the device"), 4096)
	must(t, f.Sync())
	if got := readFile(t, tree.image(vol))[4096:4114]; got != "through the device" {
		t.Errorf("the image has %q", got)
	}
	must(t, f.Close())

	must(t, tree.Detach(t.Context(), one, vol, false))
	must(t, tree.Detach(t.Context(), one, vol, false))
	for _, gone := range []string{node, link, filepath.Join(sys, "class/block/nvme1n1"), filepath.Join(sys, "block/nvme1n1"), filepath.Join(sys, "class/nvme/nvme1")} {
		if _, err := os.Lstat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is left after detach (%v)", gone, err)
		}
	}
}

func TestTree_DetachOfAHeldDevice(t *testing.T) {
	holders := map[string]func(*testing.T, string) (letGo func() error){
		"mounted": func(t *testing.T, node string) func() error {
			dir := mountExt4(t, node)
			return func() error { return unix.Unmount(dir, 0) }
		},
		"open": func(t *testing.T, node string) func() error { return writeAt(t, node, []byte("x"), 0).Close },
	}
	for name, hold := range holders {
		t.Run(name+" is busy and stays usable", func(t *testing.T) {
			tree := open(t)
			node := attached(t, tree, one, vol, 8*mib)
			letGo := hold(t, node)
			if err := tree.Detach(t.Context(), one, vol, false); !errors.Is(err, storage.ErrBusy) {
				t.Fatalf("Detach = %v, want ErrBusy", err)
			}
			if _, err := os.Stat(tree.instance(one).path("sys/class/block/nvme1n1/size")); err != nil {
				t.Error(err)
			}
			must(t, letGo())
			writeAt(t, node, []byte("still there"), 0)
			if !backs(tree.loops[vol], tree.image(vol)) {
				t.Error("the kernel freed the device after a refused detach")
			}
		})
		t.Run(name+" and forced goes with its last user", func(t *testing.T) {
			tree := open(t)
			node := attached(t, tree, one, vol, 8*mib)
			letGo, n := hold(t, node), tree.loops[vol]
			must(t, tree.Detach(t.Context(), one, vol, true))
			if _, err := os.Lstat(node); !os.IsNotExist(err) {
				t.Errorf("the node is left (%v)", err)
			}
			must(t, letGo())
			if !gone(t.Context(), n, tree.image(vol)) {
				t.Error("the loop device is left after its last close")
			}
		})
	}
}

func TestTree_MultiAttachSharesOneDevice(t *testing.T) {
	tree := open(t)
	first := attached(t, tree, one, vol, 8*mib)
	second := attached(t, tree, two, vol, 8*mib)
	if devno(t, first) != devno(t, second) {
		t.Fatal("two loop devices for one volume: their caches would differ")
	}
	dir := mountExt4(t, first)
	if err := tree.Detach(t.Context(), one, vol, false); !errors.Is(err, storage.ErrBusy) {
		t.Errorf("Detach from the instance that mounted it = %v, want ErrBusy", err)
	}
	must(t, tree.Detach(t.Context(), two, vol, false))
	must(t, unix.Unmount(dir, 0))
	must(t, tree.Detach(t.Context(), one, vol, false))
}

func TestTree_CopyKeepsBytesAndHoles(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 256*mib)
	data := bytes.Repeat([]byte("disk"), mib/4)
	must(t, writeAt(t, node, data, 100*mib).Sync())
	writeAt(t, node, []byte("unsynced"), 0) // in the page cache of the device only
	must(t, tree.Copy(t.Context(), vol, snap, 256*mib))
	must(t, tree.Copy(t.Context(), snap, vol2, 512*mib))

	var st unix.Stat_t
	must(t, unix.Stat(tree.image(vol2), &st))
	if st.Size != 512*mib || st.Blocks*512 > 8*mib {
		t.Errorf("size %d with %d bytes allocated, want 512 MiB and few", st.Size, st.Blocks*512)
	}
	f, err := os.Open(tree.image(vol2))
	must(t, err)
	defer func() { _ = f.Close() }()
	got := make([]byte, len(data))
	_, err = f.ReadAt(got, 100*mib)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Error("the copy has other bytes")
	}
	if readFile(t, tree.image(vol2))[:8] == "unsynced" {
		t.Error("the copy has what was not written to the disk")
	}
	writeAt(t, node, []byte("later"), 0)
	must(t, tree.Copy(t.Context(), vol, snap, 256*mib))
	if readFile(t, tree.image(snap))[:5] == "later" {
		t.Error("a repeated copy changed the finished snapshot")
	}
}

func TestTree_CopyOfAMountedFileSystemIsCrashConsistent(t *testing.T) {
	tree := open(t)
	dir := mountExt4(t, attached(t, tree, one, vol, 64*mib))
	f, err := os.Create(filepath.Join(dir, "synced"))
	must(t, err)
	_, err = io.WriteString(f, "safe")
	must(t, errors.Join(err, f.Sync(), f.Close()))
	must(t, tree.Copy(t.Context(), vol, snap, 64*mib))
	must(t, tree.Copy(t.Context(), snap, vol2, 64*mib))
	must(t, tree.Attach(t.Context(), one, vol2))
	copied := t.TempDir()
	must(t, unix.Mount(tree.instance(one).path("dev/nvme2n1"), copied, "ext4", unix.MS_RDONLY, "noload"))
	if _, err := os.Stat(filepath.Join(copied, "synced")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its journal the copy has what only the journal has: %v", err)
	}
	must(t, unix.Unmount(copied, 0))
	must(t, unix.Mount(tree.instance(one).path("dev/nvme2n1"), copied, "ext4", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(copied, unix.MNT_DETACH) })
	if got := readFile(t, filepath.Join(copied, "synced")); got != "safe" {
		t.Errorf("the file in the copy has %q", got)
	}
	must(t, unix.Unmount(copied, 0))
	run(t, "e2fsck", "-fn", tree.image(vol2)) // its journal was replayed by the mount
}

func TestTree_GrowIsSeenByTheDevice(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 8*mib)
	must(t, tree.Grow(t.Context(), vol, 16*mib))
	must(t, tree.Grow(t.Context(), vol, 4*mib)) // never smaller
	f, err := os.Open(node)
	must(t, err)
	defer func() { _ = f.Close() }()
	if size, _ := f.Seek(0, io.SeekEnd); size != 16*mib {
		t.Errorf("the device has %d bytes", size)
	}
	if got := strings.TrimSpace(readFile(t, tree.instance(one).path("sys/block/nvme1n1/size"))); got != "32768" {
		t.Errorf("sysfs shows %s sectors", got)
	}
}

func TestTree_GoesOnAfterACrash(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 8*mib)
	must(t, tree.CreateVolume(t.Context(), vol2, 8*mib))
	orphan, err := configureLoop(t.Context(), tree.image(vol2))
	must(t, err)
	number := tree.loops[vol]

	tree = reopen(t, crash(t, tree))
	if tree.loops[vol] != number {
		t.Errorf("loop device %d was not found again: %v", number, tree.loops)
	}
	if !gone(t.Context(), orphan, tree.image(vol2)) {
		t.Error("a loop device that no instance shows was kept")
	}
	// Half an attachment: the name is taken, the rest is missing.
	must(t, tree.instance(one).withdraw(vol))
	must(t, tree.AddInstance(t.Context(), one))
	must(t, tree.Attach(t.Context(), one, vol))
	if devno(t, node) != unix.Mkdev(loopMajor, uint32(number)) {
		t.Error("the node does not lead to the same device as before")
	}
}

// TestTree_TakesBackWhatIsUsed ends an emulator, as a container is ended, while a pod goes on with its disk.
func TestTree_TakesBackWhatIsUsed(t *testing.T) {
	tree := open(t)
	dir := mountExt4(t, attached(t, tree, one, vol, 8*mib))
	number := tree.loops[vol]
	must(t, tree.Close())
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))

	tree = reopen(t, tree.dir)
	must(t, tree.Attach(t.Context(), one, vol))
	if tree.loops[vol] != number {
		t.Errorf("the volume is on loop device %d, the file system on %d", tree.loops[vol], number)
	}
	must(t, unix.Unmount(dir, 0))
	if !backs(number, tree.image(vol)) {
		t.Error("the disk went with its file system")
	}
	must(t, tree.Detach(t.Context(), one, vol, false))
}

func TestTree_RebuildsAfterTheKernelForgot(t *testing.T) {
	tree := open(t)
	attached(t, tree, one, vol, 8*mib)
	must(t, clearLoop(tree.loops[vol], tree.image(vol))) // as after a reboot
	must(t, tree.Attach(t.Context(), one, vol))
	if !backs(tree.loops[vol], tree.image(vol)) {
		t.Error("no loop device after the second attach")
	}
}

func TestTree_RemoveRefusesWhatIsAttached(t *testing.T) {
	tree := open(t)
	attached(t, tree, one, vol, 8*mib)
	if err := tree.Remove(t.Context(), vol); err == nil {
		t.Error("an attached volume was removed")
	}
	must(t, tree.Detach(t.Context(), one, vol, false))
	must(t, tree.Remove(t.Context(), vol))
	must(t, tree.Remove(t.Context(), vol))
	if err := tree.CreateVolume(t.Context(), "vol-../../x", 1); err == nil {
		t.Error("an id with path parts was taken")
	}
}

func TestNew_RefusesAnUnusableStateDir(t *testing.T) {
	tree := open(t)
	t.Run("a folder in use by another emulator", func(t *testing.T) {
		if _, err := New(tree.dir); err == nil || !strings.Contains(err.Error(), "another emulator") {
			t.Errorf("New = %v", err)
		}
	})
	t.Run("a file system that is mounted nodev", func(t *testing.T) {
		dir := t.TempDir()
		must(t, unix.Mount("none", dir, "tmpfs", unix.MS_NODEV, ""))
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		_, err := New(dir)
		if err == nil || !strings.Contains(err.Error(), "nodev") || !strings.Contains(err.Error(), "--state-dir") {
			t.Errorf("New = %v, want the reason and the flag", err)
		}
	})
}

func TestTree_CloseWaitsForNobody(t *testing.T) {
	tree := open(t)
	dir := mountExt4(t, attached(t, tree, one, vol, 8*mib))
	began := time.Now()
	must(t, tree.Close())
	if time.Since(began) > 2*time.Second {
		t.Error("Close waited for the mount")
	}
	must(t, unix.Unmount(dir, 0))
}

func TestTree_AttachIsWritableAfterAReadOnlyLife(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 8*mib)
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 1))
	must(t, f.Close())
	before := tree.loops[vol]
	must(t, tree.Detach(t.Context(), one, vol, false))
	must(t, tree.Attach(t.Context(), one, vol))
	if tree.loops[vol] != before {
		t.Logf("another loop device than before: %d and %d", before, tree.loops[vol])
	}
	f, err = os.OpenFile(node, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	if ro, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET); err != nil || ro != 0 {
		t.Errorf("the disk is read-only: %d, %v", ro, err)
	}
}
