package mount

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
)

// freeze stops all writes to a mounted file system, as a backup does before it takes a snapshot (FIFREEZE).
func freeze(t *testing.T, point string) {
	t.Helper()
	dir, err := os.Open(point)
	must(t, err)
	defer func() { _ = dir.Close() }()
	must(t, unix.IoctlSetInt(int(dir.Fd()), 0xc0045877, 0))
}

// wantFree fails unless the kernel has let go of the disk.
func wantFree(t *testing.T, d *mounttest.Disk) {
	t.Helper()
	f, err := os.OpenFile(d.Node, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatalf("the kernel still holds the disk: %v", err)
	}
	must(t, f.Close())
}

func TestBlock_UnstageOfAFrozenFileSystem(t *testing.T) {
	needHost(t)
	eachFS(t, func(t *testing.T, fsType string) {
		for _, readOnly := range []bool{false, true} {
			t.Run(fmt.Sprintf("read-only %t", readOnly), func(t *testing.T) {
				n := mounttest.NewNode(t)
				d := n.Attach(serial, size)
				b, ctx, plan, staging := newBlock(n), t.Context(), fresh(fsType), n.Mkdir("staging")
				must(t, b.Stage(ctx, plan, staging))
				write(t, staging+"/file", "hello")
				if readOnly {
					must(t, b.Unstage(ctx, handle, staging))
					plan.ReadOnly = true
					must(t, b.Stage(ctx, plan, staging))
				}
				freeze(t, staging)
				ctx, cancel := context.WithTimeout(ctx, time.Minute) // nothing may wait for the end of the freeze
				defer cancel()
				must(t, b.Stage(ctx, plan, staging))
				_, err := b.Stats(ctx, handle, staging)
				must(t, err)
				must(t, b.Publish(ctx, plan, staging, n.Path("target"), false))
				must(t, b.Unpublish(ctx, handle, n.Path("target")))
				must(t, b.Unstage(ctx, handle, staging))
				wantFree(t, d)
				must(t, b.Unstage(ctx, handle, staging))
				must(t, b.Stage(ctx, plan, staging))
				wantFile(t, staging+"/file", "hello")
			})
		}
	})
}

// The node plugin was killed after the unmount, or somebody else has unmounted.
func TestBlock_AFrozenFileSystemWithoutAMountIsThawed(t *testing.T) {
	needHost(t)
	eachFS(t, func(t *testing.T, fsType string) {
		for name, next := range map[string]func(*Block, context.Context, string) error{
			"by unstage": func(b *Block, ctx context.Context, staging string) error { return b.Unstage(ctx, handle, staging) },
			"by stage":   func(b *Block, ctx context.Context, staging string) error { return b.Stage(ctx, fresh(fsType), staging) },
		} {
			t.Run(name, func(t *testing.T) {
				n := mounttest.NewNode(t)
				d := n.Attach(serial, size)
				b, ctx, staging := newBlock(n), t.Context(), n.Mkdir("staging")
				must(t, b.Stage(ctx, fresh(fsType), staging))
				write(t, staging+"/file", "hello")
				freeze(t, staging)
				must(t, unix.Unmount(staging, 0))
				must(t, next(b, ctx, staging))
				must(t, b.Unstage(ctx, handle, staging))
				wantFree(t, d)
				must(t, b.Stage(ctx, fresh(fsType), staging))
				wantFile(t, staging+"/file", "hello")
			})
		}
	})
}

// elsewhere starts a process that copies all mounts into a mount namespace of its own, as a container without mount
// propagation does, and returns its process id and how to end it.
func elsewhere(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	must(t, cmd.Start())
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func TestBlock_UnstageNamesWhoHasTheDiskInAnotherNamespace(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		for _, frozen := range []bool{false, true} {
			t.Run(fmt.Sprintf("frozen %t", frozen), func(t *testing.T) {
				n := mounttest.NewNode(t)
				d := n.Attach(serial, size)
				b, ctx, staging := newBlock(n), t.Context(), n.Mkdir("staging")
				b.deviceWait = time.Second
				must(t, b.Stage(ctx, fresh(fsType), staging))
				write(t, staging+"/file", "hello")
				if frozen {
					freeze(t, staging)
				}
				pid, end := elsewhere(t)
				for range 2 { // also when nothing is mounted here any more
					wantKind(t, b.Unstage(ctx, handle, staging), fault.InUse, fmt.Sprintf("process %d (sleep)", pid), staging)
				}
				end()
				b.deviceWait = time.Minute // on a busy machine
				must(t, b.Unstage(ctx, handle, staging))
				wantFree(t, d)
				must(t, b.Stage(ctx, fresh(fsType), staging))
				wantFile(t, staging+"/file", "hello")
			})
		}
	})
}

func TestBlock_UnstageWaitsForWhoLetsGo(t *testing.T) {
	_, b, staging := stagedNode(t)
	_, end := elsewhere(t)
	done := make(chan error, 1)
	go func() { done <- b.Unstage(t.Context(), handle, staging) }()
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	select {
	case err := <-done:
		t.Fatalf("the disk is held, and Unstage answers %v", err)
	case <-timer.C:
	}
	end()
	must(t, <-done)
	if mountsAt(t, staging) != 0 {
		t.Error("it is still mounted")
	}
}

func TestBlock_UnstageNamesWhatKeepsTheDisk(t *testing.T) {
	t.Run("a process", func(t *testing.T) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		f, err := os.OpenFile(d.Node, os.O_RDWR|unix.O_EXCL, 0)
		must(t, err)
		defer func() { _ = f.Close() }()
		wantKind(t, newBlock(n).Unstage(t.Context(), handle, n.Path("staging")), fault.InUse, fmt.Sprintf("process %d (mount.test)", os.Getpid()))
	})
	t.Run("a mount that is left here", func(t *testing.T) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		mounttest.Run(t, "mkfs.ext4", "-q", d.Node)
		mounttest.Run(t, "mount", d.Node, n.Mkdir("byhand"))
		wantKind(t, newBlock(n).Unstage(t.Context(), handle, n.Mkdir("staging")), fault.InUse, "mounted at "+n.Path("byhand"))
	})
}

func TestBlock_UnmountNamesWhatIsMountedBelow(t *testing.T) {
	n, b, staging := stagedNode(t)
	ctx, target := t.Context(), n.Path("target")
	must(t, b.Publish(ctx, fresh("ext4"), staging, target, false))
	must(t, os.Mkdir(target+"/cache", 0o755))
	must(t, unix.Mount("pod-cache", target+"/cache", "tmpfs", 0, ""))
	wantKind(t, b.Unpublish(ctx, handle, target), fault.InUse, "pod-cache (tmpfs)", target+"/cache")
	if mountsAt(t, target) != 1 || mountsAt(t, target+"/cache") != 1 {
		t.Error("something was unmounted")
	}
	wantKind(t, Unmount(target, false), fault.InUse, "pod-cache (tmpfs)", target+"/cache")
	must(t, unix.Unmount(target+"/cache", 0))
	must(t, b.Unpublish(ctx, handle, target))
	must(t, b.Unstage(ctx, handle, staging))
}
