package devices

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

// partitioned tells the kernel of a partition from the first MiB on, as whoever writes a partition table does.
func partitioned(t *testing.T, node string, bytes int64) {
	t.Helper()
	f, err := os.Open(node)
	must(t, err)
	defer func() { _ = f.Close() }()
	p := unix.BlkpgPartition{Start: mib, Length: bytes, Pno: 1}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		t.Fatal(errno)
	}
}

// eventually waits until the path is there, or is not.
func eventually(t *testing.T, path string, there bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); (err == nil) == there {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: there should be %t", path, there)
		}
	}
}

func TestTree_ShowsPartitions(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 64*mib)
	part := node + "p1"
	partitioned(t, node, 32*mib)
	eventually(t, part, true)
	_, sys := tree.Roots(one)
	for _, dir := range []string{"block/nvme1n1/nvme1n1p1", "class/block/nvme1n1p1"} {
		if got := strings.TrimSpace(readFile(t, filepath.Join(sys, dir, "size"))); got != "65536" {
			t.Errorf("%s/size is %s sectors", dir, got)
		}
	}
	n := tree.loops[vol]
	if devno(t, part) != partitions()[n][1] {
		t.Error("the node is not the kernel's partition")
	}

	dir := mountExt4(t, part)
	if err := tree.Detach(t.Context(), one, vol, false); !errors.Is(err, storage.ErrBusy) {
		t.Errorf("detaching a mounted partition gives %v", err)
	}
	must(t, tree.AddInstance(t.Context(), two))
	must(t, tree.Attach(t.Context(), two, vol))
	eventually(t, tree.instance(two).path("dev/nvme1n1p1"), true)
	if err := tree.Detach(t.Context(), one, vol, false); !errors.Is(err, storage.ErrBusy) {
		t.Errorf("detaching a mounted partition of a shared disk gives %v", err)
	}
	must(t, tree.Detach(t.Context(), two, vol, false))
	must(t, unix.Unmount(dir, 0))
	must(t, tree.Detach(t.Context(), one, vol, false))
	for _, gone := range []string{part, filepath.Join(sys, "class/block/nvme1n1p1"), filepath.Join("/sys/block", filepath.Base(loopName(n)), filepath.Base(loopName(n))+"p1")} {
		if _, err := os.Lstat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	t.Run("and forgets those of the disk that had the name before", func(t *testing.T) {
		attached(t, tree, one, vol2, 64*mib)
		if _, err := os.Lstat(part); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("another disk shows a partition: %v", err)
		}
	})
}

func TestTree_ShowsPartitionsAfterACrash(t *testing.T) {
	tree := open(t)
	node := attached(t, tree, one, vol, 64*mib)
	partitioned(t, node, 32*mib)
	eventually(t, node+"p1", true)
	dir := crash(t, tree)
	must(t, os.Remove(node+"p1"))
	reopen(t, dir)
	eventually(t, node+"p1", true)
}
