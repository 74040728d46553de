package mount

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountApart mounts what an order names and opens its root. No other process sees the mount: mount.nfs4 runs in a mount namespace
// of its own, which ends with it, and the opened root keeps the mount alive until it is closed.
//
// The copies of this node's mounts that are in such a namespace hold their disks as the originals do. So they are slaves, to
// be unmounted with their originals, and those that cannot be are taken away at once.
func mountApart(ctx context.Context, o order) (*os.Root, error) {
	type result struct {
		root *os.Root
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which alone is in the namespace, ends with this function
		root, err := mountInNamespace(ctx, o)
		done <- result{root, err}
	}()
	r := <-done
	return r.root, r.err
}

func mountInNamespace(ctx context.Context, o order) (root *os.Root, err error) {
	before, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, before.Close()) }()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	if err := leaveOut(o); err != nil {
		return nil, err
	}
	p := program{path: o.Program, args: mountArgs(o.Source, o.Path, o.Options), attr: syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}}
	defer p.close()
	if err := p.open(); err != nil {
		return nil, err
	}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	if root, err = os.OpenRoot(o.Path); err != nil {
		return nil, err
	}
	if err := unix.Setns(int(before.Fd()), unix.CLONE_NEWNS); err != nil { // after which no process is in the other one
		return nil, errors.Join(os.NewSyscallError("setns", err), root.Close())
	}
	return root, nil
}

// leaveOut takes away this thread's copies of mounts that would stay when their originals go, which is what the mount below
// them decides, except for those that a program needs to run.
func leaveOut(o order) error {
	mounts, err := readTableOf("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	system := []string{"/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/lib/nfs"}
	for _, e := range slices.Backward(mounts) {
		below, _ := mounts.byID(e.parent)
		needed := within(o.Program, e.point) || within(o.Path, e.point) ||
			slices.ContainsFunc(system, func(dir string) bool { return within(e.point, dir) || within(dir, e.point) })
		if needed || below.master != 0 {
			continue
		}
		// What does not go, such as a mount that lies hidden below another one, has nothing to do with this volume.
		_ = unix.Unmount(e.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	return nil
}
