package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UML is User Mode Linux: a kernel that is an ordinary process, without root, KVM or network. Debian has it in the
// package user-mode-linux. https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html
type UML struct {
	Kernel  string // a program
	Modules Modules
}

// FindUML finds the kernel that Debian's package installs. The error says how to get it.
func FindUML() (UML, error) {
	kernel, err := exec.LookPath("linux.uml")
	if err != nil {
		return UML{}, errors.New("linux.uml, User Mode Linux, is missing: apt-get install user-mode-linux")
	}
	modules, err := FindModules("/usr/lib/uml/modules")
	return UML{Kernel: kernel, Modules: modules}, err
}

// nfsPrograms are what a machine needs for an NFS client, servers and their networks.
func nfsPrograms() []string {
	return []string{"ip", "nsenter", "mount.nfs4", "exportfs", "rpc.mountd", "rpc.nfsd", "nfsdcld"}
}

// FindNFS proves that this machine has them. The error says how to get what is missing.
func FindNFS() error {
	for _, program := range nfsPrograms() {
		if _, err := lookPath(program); err != nil {
			return fmt.Errorf("%s is missing: apt-get install nfs-common nfs-kernel-server iproute2 util-linux", program)
		}
	}
	return nil
}

// PackNFS adds what NFS needs inside, server and client: modules, programs and what those read.
func (u UML) PackNFS(ctx context.Context, a *Archive) error {
	for _, program := range nfsPrograms() {
		a.Program(program)
	}
	a.Copy("/etc/netconfig", "/etc/netconfig") // which transports there are, for RPC
	a.File("/etc/services", []byte("nfs 2049/tcp\n"))
	a.Device("/dev/console", 5, 1)
	modules, err := u.Modules.Load(ctx, "nfsd", "nfsv4", "veth")
	a.Modules(modules)
	return err
}

// Run boots the initramfs and waits until the machine turns itself off. report reads what its first process writes to
// [inside.Report]; the console goes to a file. The environment is the first process's.
func (u UML) Run(ctx context.Context, initramfs, console string, memoryMiB int, environment map[string]string, report func(io.Reader) error) error {
	log, err := os.Create(console)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // it is only a log
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // all was read
	args := []string{
		fmt.Sprintf("mem=%dM", memoryMiB), "initrd=" + initramfs, "con=null", "con0=null,fd:1", "ssl=null", "ssl0=null,fd:3", "quiet", "panic=-1",
		"umid=" + filepath.Base(filepath.Dir(initramfs)) + "-" + filepath.Base(console),
	}
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		args = append(args, name+"="+environment[name])
	}
	library, err := preload(ctx, console)
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	cmd := exec.CommandContext(ctx, u.Kernel, args...)
	// Its memory is a file in TMPDIR, and what it notes down a folder in HOME.
	cmd.Env = slices.Concat(os.Environ(), library, []string{"TMPDIR=" + memoryFolder(memoryMiB), "HOME=" + filepath.Dir(initramfs)})
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{writer}
	// Its processes are this machine's: they are ended as a group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start User Mode Linux: %w", err), writer.Close())
	}
	err = errors.Join(writer.Close(), report(reader))
	if err != nil { // nobody reads any more
		err = errors.Join(err, cmd.Cancel())
	}
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return err
	}
	return waitErr
}

// memoryFolder is where a file of that size is memory, if there is such a place.
func memoryFolder(mib int) string {
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) == nil && fs.Type == unix.TMPFS_MAGIC && fs.Bavail*uint64(fs.Bsize) > uint64(mib)<<20 {
		return "/dev/shm"
	}
	return os.TempDir()
}
