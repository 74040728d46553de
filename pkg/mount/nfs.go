package mount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Tunnels encrypts what goes between this machine's NFS client and file systems. Its methods are idempotent.
type Tunnels interface {
	// Open returns the port on 127.0.0.1 that leads to the file system. It is the same for all holders, since the kernel
	// joins their connections, and stays the same as long as there is one.
	Open(ctx context.Context, t volume.Tunnel, holder string) (port uint16, err error)
	// Close takes the tunnel away after its last holder.
	Close(ctx context.Context, fileSystem, holder string) error
	// Failure is why the file system's tunnel did not reach the mount target the last time, or why that is not known; nil if
	// it did, or there is no tunnel.
	Failure(ctx context.Context, fileSystem string) error
}

// NFSConfig says how a node mounts NFS. Empty fields have the defaults.
type NFSConfig struct {
	Program  []string      // runs [Child]; default: this program with ChildMode
	Tunnels  Tunnels       // nil: plans with TLS are refused
	Region   string        // of the file systems, for the names in their certificates; needed for TLS only
	Wait     time.Duration // longest wait for a mount, default 1 minute; a shorter deadline goes first
	Patience time.Duration // how long a server may not answer before a target that a program keeps busy is unmounted lazily, default 30 s
	// Lost is called for each unmounted path whose directory the server no longer knew: what programs had not written yet
	// is lost. It may be nil.
	Lost func(point string)
}

// NFS executes plans for NFS file systems. Every method is idempotent, may be called concurrently, and answers at its
// context's deadline whatever the server does: what may hang is done by children. Paths must be absolute; the mount point
// itself must not be a symbolic link.
type NFS struct {
	NFSConfig
	children children
	tools    toolbox
	keep     keeper
	measures *measures
	losses   losses
}

// nfsPackages have mount.nfs4, and efsPackages mount.efs.
const (
	nfsPackages = "nfs-common (Debian, Ubuntu) or nfs-utils (Amazon Linux, Fedora, RHEL)"
	efsPackages = "amazon-efs-utils, https://github.com/aws/efs-utils; an access point is reached in no other way"
)

// NewNFS makes an NFS. Drain it before the process ends.
func NewNFS(cfg NFSConfig) *NFS {
	n := &NFS{NFSConfig: cfg, tools: standardTools(nfsPackages), keep: keeper{tasks: map[string]*task{}}, measures: newMeasures()}
	if n.Program == nil {
		n.Program = []string{"/proc/self/exe", ChildMode}
	}
	n.children.argv = n.Program
	if n.Wait == 0 {
		n.Wait = time.Minute
	}
	if n.Patience == 0 {
		n.Patience = 30 * time.Second
	}
	return n
}

// lookLimit is how long a healthy server may take to answer.
const lookLimit = 10 * time.Second

// Drain waits until every child has come back that outlived its caller, at most until ctx ends.
func (n *NFS) Drain(ctx context.Context) error { return n.keep.drain(ctx) }

// Stage mounts the plan's directory on stagingPath, an existing directory; first it makes the directory, or gives the
// root of a new file system its owner, where the plan says so. A mount of it that is stale is taken away and made anew.
//
// Kinds: Unavailable (the server or the tunnel does not answer), NotFound (the directory), Conflict (the path has another
// mount, or the directory is somebody else's), Denied, Unsupported (this machine lacks what it takes), Invalid (path,
// options), Pending and UnknownOutcome (deadline).
func (n *NFS) Stage(ctx context.Context, plan volume.NFSPlan, stagingPath string) error {
	return n.work(ctx, "stage", plan.Handle, func(t *task) error {
		at, err := n.locate(ctx, t, stagingPath)
		if err != nil {
			return err
		}
		return n.stageAt(ctx, t, plan, at)
	})
}

// stageAt is Stage at a place that was looked up.
func (n *NFS) stageAt(ctx context.Context, t *task, plan volume.NFSPlan, at spot) (err error) {
	if at.mounted {
		if err := n.staged(plan, at); err != nil {
			return err
		}
	}
	var from nfsSource
	if plan.AccessPoint == "" { // also where it is mounted: the tunnel may lead to an address that is no more
		if from, err = n.source(ctx, plan, at.point); err != nil {
			return err
		}
	}
	if at.mounted {
		if at.label == "" && from.tunnel && !from.carries(at.entry) {
			return fault.New(fault.Conflict, "check mount", at.point, "%s is mounted there through another tunnel than that of %s; unmount it first if it is not needed",
				at.entry.source, plan.FileSystem)
		}
		stale, err := n.stale(ctx, t, plan, at)
		if err != nil || !stale {
			return err
		}
		if err := n.detach(ctx, t, at.point); err != nil {
			return err
		}
	}
	err = n.putLabel(ctx, t, at, stagedLabel(plan.Handle))
	if err == nil {
		err = n.mountFrom(ctx, t, plan, from, at.point)
	}
	if err != nil {
		err = errors.Join(err, n.giveUp(ctx, t, plan, from, at.point, err))
	}
	return err
}

// giveUp removes what a stage that failed has made.
func (n *NFS) giveUp(ctx context.Context, t *task, plan volume.NFSPlan, from nfsSource, point string, failure error) error {
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLimit)
	defer cancel()
	err := n.dropLabel(wait, t, point, failure)
	if from.tunnel && final(failure) && !from.used() {
		err = errors.Join(err, n.Tunnels.Close(wait, plan.FileSystem, point))
	}
	return err
}

// final reports whether nothing goes on after an error, and the caller may well not ask to unstage.
func final(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.NotFound, fault.Denied, fault.Conflict, fault.Unsupported:
		return true
	default:
		return false
	}
}

// used reports whether a mount goes through the tunnel, or may do so.
func (s nfsSource) used() bool {
	mounts, err := readTable()
	return err != nil || slices.ContainsFunc(mounts, s.carries)
}

// carries reports whether a mount goes through the tunnel, or may do so.
func (s nfsSource) carries(e entry) bool {
	port := e.value("port")
	return e.value("addr") == loopback && (port == "" || port == strconv.Itoa(int(s.port)))
}

// mountFrom mounts the plan's directory, after what is to be made was made.
func (n *NFS) mountFrom(ctx context.Context, t *task, plan volume.NFSPlan, from nfsSource, point string) error {
	if plan.AccessPoint != "" {
		return n.mountAccessPoint(ctx, t, plan, point)
	}
	if plan.Create != nil || plan.Root != nil {
		o := order{Root: plan.Root, Create: plan.Create}
		if _, err := n.onRoot(ctx, t, plan, from, point, &o); err != nil {
			return err
		}
	}
	if err := n.mount(ctx, t, plan, from, point); err != nil {
		return err
	}
	return n.verify(ctx, t, plan, from, point)
}

// work runs fn as the volume's only operation.
func (n *NFS) work(ctx context.Context, op, handle string, fn func(*task) error) error {
	t, err := n.keep.begin(ctx, handle)
	if err != nil {
		return fault.Wrap(op, handle, err)
	}
	defer t.end()
	return fault.Wrap(op, handle, fn(t))
}

// locate returns the path as the mount table shows it. It does not look through a mount, which may hang.
func (n *NFS) locate(ctx context.Context, t *task, path string) (p spot, err error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return p, fault.New(fault.Invalid, "check path", path, "it must be absolute, without . and .. parts, and not the root")
	}
	err = t.run(ctx, "look up", path, func() error {
		parent, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return kernelError("look up", path, err)
		}
		p, err = spotAt(filepath.Join(parent, filepath.Base(path)))
		if err != nil || p.mounted || p.label != "" {
			return err
		}
		st, err := os.Lstat(p.point)
		if err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return fault.New(fault.Invalid, "check path", path, "it is a symbolic link; a mount point must not be one")
		}
		return nil
	})
	if err != nil {
		return spot{}, err
	}
	return p, nil
}

// shows reports whether the kernel shows a mount as one of that directory. Its address is not looked at: the kernel joins
// mounts of one server, and then shows the address of the first.
func (e entry) shows(directory string) bool {
	_, dir, ok := strings.Cut(e.source, ":/")
	return ok && e.isNFS() && strings.Trim(dir, "/") == strings.Trim(directory, "/")
}

// from reports whether a mount's server has an address; a name is one if the mount was asked for with it.
func (e entry) from(address string) bool {
	host, _, _ := strings.Cut(e.source, ":/")
	return sameAddress(e.value("addr"), address) || strings.EqualFold(host, address)
}

// addressOf returns the address that the kernel shows for a plan's mount.
func addressOf(plan volume.NFSPlan) string {
	if plan.TLS {
		return loopback
	}
	return plan.Address
}

// staged proves that the mount that is there is the plan's.
func (n *NFS) staged(plan volume.NFSPlan, at spot) error {
	e := at.entry
	if !at.shows(stagedLabel(plan.Handle), addressOf(plan)) {
		return fault.New(fault.Conflict, "check mount", at.point, "%s (%s) is mounted there, and this driver did not mount it for %s; unmount it first if it is not needed",
			e.source, e.fsType, plan.Handle)
	}
	if e.readOnly() != plan.Options.Has("ro") {
		return fault.New(fault.Conflict, "check mount", at.point, "the file system is mounted there, but read-only is %t and not %t; unstage it first",
			e.readOnly(), plan.Options.Has("ro"))
	}
	return n.joined(plan, e, at.point)
}

// stale reports whether the server does not know the mounted directory any more.
func (n *NFS) stale(ctx context.Context, t *task, plan volume.NFSPlan, at spot) (bool, error) {
	err := n.look(ctx, t, at.point)
	if corrupted(err) {
		return true, nil
	}
	return false, n.explain(ctx, plan.FileSystem, at.entry, err)
}

// value returns the value of a mount option, or "".
func (e entry) value(name string) string {
	for _, o := range e.super {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return value
		}
	}
	return ""
}

// look asks the server of a mount whether it is there. Kinds: Unavailable (no answer), else the kernel's own error.
func (n *NFS) look(ctx context.Context, t *task, point string) error {
	life, cancel := soon(ctx, lookLimit)
	defer cancel()
	_, err := n.children.run(ctx, life, t, order{Do: "look", Path: point})
	return err
}

// nfsSource is where a file system is mounted from.
type nfsSource struct {
	host    string
	port    uint16
	options []string
	tunnel  bool
}

// of is how mount(8) writes a directory of it.
func (s nfsSource) of(directory string) string {
	host := s.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + directory
}

// source opens the tunnel that the plan asks for; the staging path holds it.
func (n *NFS) source(ctx context.Context, plan volume.NFSPlan, point string) (nfsSource, error) {
	s := nfsSource{host: plan.Address, port: plan.Port}
	if plan.TLS {
		if n.Tunnels == nil {
			return s, fault.New(fault.Unsupported, "open tunnel", plan.FileSystem,
				"encryption in transit needs `diskbridge-csi mounter` on this node; start it and give the node plugin --mounter-socket")
		}
		name := volume.EFSName(plan.FileSystem, n.Region)
		if name == "" {
			return s, fault.New(fault.Unsupported, "open tunnel", plan.FileSystem, "the region %q makes no name that its certificate could be for; set --region", n.Region)
		}
		port, err := n.Tunnels.Open(ctx, volume.Tunnel{FileSystem: plan.FileSystem, Address: plan.Address, Port: plan.Port, ServerName: name}, point)
		if err != nil {
			return s, fault.Wrap("open tunnel", plan.FileSystem, err)
		}
		s.host, s.port, s.tunnel = loopback, port, true
	}
	s.options = append(s.options, plan.Options...)
	if s.port != volume.NFSPort {
		s.options = append(s.options, "port="+strconv.Itoa(int(s.port)))
	}
	return s, nil
}

// loopback is where tunnels begin.
const loopback = "127.0.0.1"
