package inside

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where a server's files are, and what its helpers know, in its own mount namespace.
const (
	files = "/srv"
	state = "/var/lib/nfs"
	pipes = "/run/rpc_pipefs"
)

// Server is a kernel's NFS server with a network, a name and files of its own, so that the kernel's client takes two of
// them for two: what the mount targets of an EFS file system lead to. It must not be used concurrently.
type Server struct{ *Host }

// StartServer starts a server that exports a folder under some addresses; dir is empty for a new file system in memory. It
// must lie on a file system that can be exported, as ext4, xfs and tmpfs can and overlays can not.
func StartServer(ctx context.Context, name, dir string, addresses ...string) (*Server, error) {
	h, err := startHost(ctx, serverCommand, name, dir, addresses...)
	if err != nil {
		return nil, err
	}
	s := &Server{h}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Root is where this process sees the server's files.
func (s *Server) Root() string { return s.Path(files) }

// Start serves; the port answers when it returns.
func (s *Server) Start() error { return s.order("start") }

// Stop ends serving: the port is closed, and connections are.
func (s *Server) Stop() error { return s.order("stop") }

// Export gives the files out, as StartServer does.
func (s *Server) Export() error { return s.order("export") }

// Unexport takes the files back: who has them mounted holds stale handles.
func (s *Server) Unexport() error { return s.order("unexport") }

// serve is what a server's process does.
func serve(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	if err := prepare(dir); err != nil {
		return err
	}
	export := func() error {
		return Run(ctx, "exportfs", "-i", "-o", "rw,fsid=0,no_root_squash,no_subtree_check,insecure,sync", "*:"+files)
	}
	if err := export(); err != nil {
		return err
	}
	// What the server asks: who may have what, and who had files open before it was started again.
	mountd, mountdErr := helper("rpc.mountd", "--foreground", "--no-nfs-version", "2", "--no-nfs-version", "3")
	tracker, trackerErr := helper("nfsdcld", "--foreground", "--pipefsdir="+pipes, "--storagedir="+state+"/nfsdcld")
	if err := errors.Join(mountdErr, trackerErr); err != nil {
		return err
	}
	orders := map[string]func() error{
		"start": func() error {
			return Run(ctx, "rpc.nfsd", "--no-nfs-version", "3", "--grace-time", "10", "--lease-time", "10", "4")
		},
		"stop":     func() error { return Run(ctx, "rpc.nfsd", "0") },
		"export":   export,
		"unexport": func() error { return errors.Join(Run(ctx, "exportfs", "-u", "*:"+files), Run(ctx, "exportfs", "-f")) },
	}
	obey(in, out, orders)
	err := errors.Join(orders["stop"](), mountd.Process.Kill(), tracker.Process.Kill())
	_, _ = mountd.Wait(), tracker.Wait() // killed: that is their answer
	return err
}

// helper starts a program that ends with this one.
func helper(name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(name, args...) //nolint:noctx // its starter ends it
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

// prepare makes the places where the kernel's server and its helpers keep what they know, apart from everybody else's.
func prepare(dir string) error {
	err := errors.Join(Mount("tmpfs", files), Mount("tmpfs", state), Mount("rpc_pipefs", pipes), Mount("nfsd", "/proc/fs/nfsd"),
		os.Mkdir(state+"/nfsdcld", 0o700))
	for _, file := range []string{state + "/etab", state + "/rmtab"} {
		err = errors.Join(err, os.WriteFile(file, nil, 0o644))
	}
	if dir != "" {
		err = errors.Join(err, unix.Mount(dir, files, "", unix.MS_BIND, ""))
	} else {
		err = errors.Join(err, os.Chmod(files, 0o755)) // as EFS makes it
	}
	// As EFS answers it; a small machine would say less.
	return errors.Join(err, os.WriteFile("/proc/fs/nfsd/max_block_size", []byte("1048576"), 0))
}
