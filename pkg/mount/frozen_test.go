package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
)

// needHost skips a test of what is only done where the processes of the whole host are visible.
func needHost(t *testing.T) {
	t.Helper()
	if !hostVisible() {
		t.Skip("this process does not see the host's")
	}
}

// containerMode makes this program unstage the volume in namespaces of its own, as the chart's node plugin does.
const containerMode = "unstage-in-container"

func unstageInContainer(deviceRoot, sysfsRoot, staging string) int {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	b := newBlock(&mounttest.Node{DeviceRoot: deviceRoot, SysfsRoot: sysfsRoot})
	if err := b.Unstage(context.Background(), handle, staging); err != nil {
		fmt.Fprintf(os.Stdout, "%v\n%v", fault.KindOf(err), err)
	}
	return 0
}

// fromContainer is what unstageInContainer answers.
func fromContainer(t *testing.T, n *mounttest.Node, staging string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], containerMode, n.DeviceRoot, n.SysfsRoot, staging)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	kind, text, failed := strings.Cut(string(out), "\n")
	if !failed {
		return nil
	}
	if kind != fault.InUse.String() {
		t.Fatalf("got kind %s: %s", kind, text)
	}
	return errors.New(text)
}

// frozenInContainer gives a disk with a frozen file system that is staged nowhere, and whose other users a container cannot see.
func frozenInContainer(t *testing.T, fsType string, meanwhile func(staging string)) (n *mounttest.Node, d *mounttest.Disk, staging string) {
	t.Helper()
	n = mounttest.NewNode(t)
	d, staging = n.Attach(serial, size), n.Mkdir("staging")
	must(t, newBlock(n).Stage(t.Context(), fresh(fsType), staging))
	write(t, staging+"/file", "hello")
	freeze(t, staging)
	meanwhile(staging)
	must(t, unix.Unmount(staging, 0))
	err := fromContainer(t, n, staging)
	if err == nil || !strings.Contains(err.Error(), "fsfreeze -u") || !strings.Contains(err.Error(), d.Node) {
		t.Errorf("Unstage answers %v", err)
	}
	return n, d, staging
}

// A container that the node plugin cannot see has the volume, and a backup of it the freeze.
func TestBlock_AFreezeThatAnUnseenProcessUsesIsKept(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		var pid int
		var end func()
		n, d, staging := frozenInContainer(t, fsType, func(string) { pid, end = elsewhere(t) })
		dir, err := os.Open(fmt.Sprintf("/proc/%d/root%s", pid, staging))
		must(t, err)
		err = unix.IoctlSetInt(int(dir.Fd()), fithaw, 0)
		must(t, dir.Close())
		if err != nil {
			t.Fatalf("the file system is no longer frozen: %v", err)
		}
		end()
		must(t, fromContainer(t, n, staging))
		wantFree(t, d)
	})
}

// The way out that the error names.
func TestBlock_AFrozenFileSystemIsFreedByHand(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n, d, staging := frozenInContainer(t, fsType, func(string) {})
		byHand := n.Mkdir("by-hand")
		mounttest.Run(t, "mount", d.Node, byHand)
		mounttest.Run(t, "fsfreeze", "-u", byHand)
		mounttest.Run(t, "umount", byHand)
		must(t, fromContainer(t, n, staging))
		wantFree(t, d)
		must(t, newBlock(n).Stage(t.Context(), fresh(fsType), staging))
		wantFile(t, staging+"/file", "hello")
	})
}
