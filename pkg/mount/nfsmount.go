package mount

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// mountArgs are for mount.nfs4 and mount.efs: no note in /etc/mtab.
func mountArgs(source, point string, options []string) []string {
	return []string{source, point, "-n", "-o", strings.Join(options, ",")}
}

// mount mounts a directory. A server that is not there is not waited for: the caller tries again.
func (n *NFS) mount(ctx context.Context, t *task, plan volume.NFSPlan, from nfsSource, point string) error {
	life, cancel := soon(ctx, n.Wait)
	defer cancel()
	begin := time.Now()
	_, err := n.tools.run(ctx, life, t, "", "mount.nfs4", mountArgs(from.of(plan.Directory), point, append(from.options, "retry=0")))
	if err != nil && life.Err() != nil && ctx.Err() == nil {
		err = fault.New(fault.Unavailable, "mount", from.of(plan.Directory), "it has not answered within %s", waited(begin))
		return n.unanswered(ctx, t, plan, from, err)
	}
	return mountFailure(from, plan.Directory, err)
}

// waited is how long something took, in whole seconds where it was that long.
func waited(begin time.Time) time.Duration {
	took := time.Since(begin)
	if took < time.Second {
		return took.Round(time.Millisecond)
	}
	return took.Round(time.Second)
}

// onRoot works on the root of the file system, which only a child sees.
func (n *NFS) onRoot(ctx context.Context, t *task, plan volume.NFSPlan, from nfsSource, point string, o *order) (files int, err error) {
	if o.Program, err = n.tools.find("mount.nfs4"); err != nil {
		return 0, err
	}
	o.Do, o.Path, o.Source = "prepare", point, from.of("/")
	o.Options = slices.DeleteFunc(append(slices.Clone(from.options), "retry=0"), func(option string) bool { return option == "ro" })
	limit := n.Wait
	if deadline, ok := ctx.Deadline(); ok && o.Remove != nil { // which is the caller's patience
		limit = time.Until(deadline)
	}
	life, cancel := soon(ctx, limit)
	defer cancel()
	if deadline, ok := life.Deadline(); ok {
		o.Time = time.Until(deadline) * 9 / 10
	}
	a, err := n.children.run(ctx, life, t, *o)
	if err != nil && life.Err() != nil && ctx.Err() == nil {
		return a.Files, n.unanswered(ctx, t, plan, from, err)
	}
	return a.Files, mountFailure(from, "/", err)
}

// RemoveDirectory removes or renames the directory of a volume that was deleted, through a mount of the file system's root
// on an existing directory that only a child sees. It may be called again after any error; see [directory.Remove].
func (n *NFS) RemoveDirectory(ctx context.Context, plan volume.NFSPlan, r volume.Removal, point string) (files int, err error) {
	err = n.work(ctx, "remove directory", plan.FileSystem+":"+r.Path, func(t *task) error {
		from, err := n.source(ctx, plan, point)
		if err != nil {
			return err
		}
		files, err = n.onRoot(ctx, t, plan, from, point, &order{Remove: &r})
		if n.Tunnels != nil && plan.TLS {
			err = errors.Join(err, n.Tunnels.Close(context.WithoutCancel(ctx), plan.FileSystem, point))
		}
		return err
	})
	return files, err
}

// mountAccessPoint leaves an access point to mount.efs: it is told to the server in the certificate of its tunnel.
func (n *NFS) mountAccessPoint(ctx context.Context, t *task, plan volume.NFSPlan, point string) error {
	tools := n.tools
	tools.packages = efsPackages
	options := append([]string{"tls", "accesspoint=" + plan.AccessPoint, "mounttargetip=" + plan.Address}, plan.Options...)
	life, cancel := soon(ctx, n.Wait)
	defer cancel()
	from := nfsSource{host: plan.Address}
	_, err := tools.run(ctx, life, t, "", "mount.efs", mountArgs(plan.FileSystem+":/", point, options))
	if err != nil {
		return mountFailure(from, "/", err)
	}
	return n.verify(ctx, t, plan, from, point)
}

const reachable = "its security group must let this node in on TCP port 2049"

// mountFailure says what a failed mount means. Texts are those of mount.nfs4 (nfs-utils, support/nfs and utils/mount).
func mountFailure(from nfsSource, directory string, err error) error {
	var tool *ToolError
	if !errors.As(err, &tool) {
		return err
	}
	e := &fault.Error{Op: "mount", Subject: from.of(directory), Err: tool}
	for _, m := range []struct {
		text    string
		kind    fault.Kind
		message string
	}{
		{"No such device", fault.Unsupported, "this node's kernel has no NFS client: load its module (modprobe nfsv4), or use a kernel that has one"},
		{"unknown filesystem type", fault.Unsupported, "this node's kernel has no NFS client: load its module (modprobe nfsv4), or use a kernel that has one"},
		{"No such file or directory", fault.NotFound, "the file system has no such directory"},
		{"access denied", fault.Denied, "the file system's policy must allow elasticfilesystem:ClientMount to this node"},
		{"Permission denied", fault.Denied, "the file system's policy must allow elasticfilesystem:ClientMount to this node"},
		{"Operation not permitted", fault.Denied, "the node plugin needs to run privileged, and the file system's policy must let it in"},
		{"Protocol not supported", fault.Unsupported, "this node's kernel has no NFSv4.1"},
		{"Failed to resolve", fault.Unavailable, "the name is not known to this node's DNS; publish the volume first, or write the mount target's address into the volume context " + volume.ContextAddress},
		{"Connection refused", fault.Unavailable, "nobody serves NFS there"},
		{"Connection timed out", fault.Unavailable, reachable},
		{"No route to host", fault.Unavailable, reachable},
		{"unreachable", fault.Unavailable, reachable},
		{"mount option", fault.Invalid, "this node's mount.nfs4 refuses an option"},
		{"Invalid argument", fault.Invalid, "this node's kernel refuses an option"},
	} {
		if strings.Contains(tool.Output, m.text) {
			e.Kind, e.Message = m.kind, m.message
			return e
		}
	}
	e.Kind, e.Message = fault.Unavailable, "mounting failed"
	return e
}

// verify proves that what is seen at point is what was asked for.
func (n *NFS) verify(ctx context.Context, t *task, plan volume.NFSPlan, from nfsSource, point string) error {
	mounts, err := readTable()
	if err != nil {
		return err
	}
	e, ok := mounts.at(point)
	if !ok || !e.isNFS() || mounts.labelOf(e) != stagedLabel(plan.Handle) {
		return fault.New(fault.Internal, "mount", point, "%s was mounted and is not seen there, but %q", from.of(plan.Directory), e.source)
	}
	if err := n.joined(plan, e, point); err != nil {
		return errors.Join(err, n.unmountPlain(ctx, t, point))
	}
	return nil
}

// joined proves that the mount's connection is the one that was asked for. The kernel lets all mounts of one server share
// the first one's, if the server calls itself the same everywhere.
func (n *NFS) joined(plan volume.NFSPlan, e entry, point string) error {
	if plan.AccessPoint != "" || plan.Address == loopback || (e.value("addr") == loopback) == plan.TLS {
		return nil
	}
	if plan.TLS {
		return fault.New(fault.Conflict, "check mount", point, "this node has %s mounted without encryption as well, and its kernel would use that connection for both; "+
			"use encryptInTransit for all volumes of a file system or for none", plan.FileSystem)
	}
	return fault.New(fault.Conflict, "check mount", point, "this node has %s mounted through a TLS tunnel as well, which this volume would share and does not keep open; "+
		"use encryptInTransit for all volumes of a file system or for none", plan.FileSystem)
}
