package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

type scenario struct {
	name string
	run  func(context.Context, *world) error
}

// onNode are the scenarios of the node half; each begins and ends with nothing mounted and empty file systems.
func onNode() []scenario {
	return []scenario{
		{"the kernel shows EFS's recommended options", recommended},
		{"the user's options go before", userOptions},
		{"read-only and read-write in two pods of one node", readOnly},
		{"one pod at a time, where the volume says so", onePod},
		{"two nodes read what the other writes", twoNodes},
		{"the root of a new file system is given to its users, once", freshRoot},
		{"a directory is made, once, with its marker", makesDirectory},
		{"a directory that is somebody else's is left alone", foreignDirectory},
		{"what is mounted there already is left alone", foreignMount},
		{"the plugin is killed while a program writes", pluginKilled},
		{"the plugin is killed while it mounts and unmounts", killedWhileMounting},
		{"through TLS, on two nodes' worth of mounts", encrypted},
		{"a server that does not prove who it is", impostor},
		{"a tunnel is killed while programs write: the other one does not notice", tunnelKilled},
		{"the mounter is killed while a program writes, and comes back", mounterKilled},
		{"TLS is never joined with a connection in the clear", neverJoined},
	}
}

// onFaults are those of servers and mounts that fail, with a machine of their own since they wait for much of their time.
func onFaults() []scenario {
	return []scenario{
		{"a file system without a server", closedPort},
		{"a server that swallows all", swallowed},
		{"the server stops while a program writes, and comes back", serverBack},
		{"the export is removed, and comes back", unexported},
		{"unstage answers when all that was written is on the server", writtenBeforeUnstage},
		{"the server is gone: the pod goes, what it wrote is kept until the server is back", keptUntilBack},
		{"unstage reports what the server refused", refusedWrites},
		{"what an earlier release mounted stays in use", mountedByEarlierRelease},
		{"a directory that is renamed or removed on its node is unmounted all the same", renamedDirectory},
		{"unstage of a volume that is published", unstageInUse},
		{"two mount targets of one file system", twoMountTargets},
		{"a tunnel whose mount target moves heals its volumes", movedTunnel},
		{"a certificate expires: every answer says so", expiredCertificate},
		{"stats of a server that hangs share an answer, and unpublish does not wait", sharedStats},
		{"a mount target comes back with another address", movedMountTarget},
	}
}

// onAWS are the scenarios of the whole driver on an emulated AWS, whose mount targets lead to servers of this kernel.
func onAWS() []scenario {
	return []scenario{
		{"the janitor removes and archives the directories of deleted volumes", janitorRemoves},
		{"the janitor follows no link, and names the node that has a file open", janitorLeaves},
		{"the demo, on a kernel that has NFS", demo},
		{"csi-sanity with emulator, driver and kernel servers", sanity},
	}
}

// root is a claim of a whole file system.
func (w *world) root(n *node) claim {
	return claim{node: n, handle: fsA, address: plainA, pod: "pod-" + n.name}
}

func recommended(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := c.mount(ctx); err != nil {
		return err
	}
	return errors.Join(
		c.shows("source="+plainA+":/", "type=nfs4", "vers=4.1", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport", "proto=tcp", "addr="+plainA),
		c.save("file", "text"), c.holds("file", "text"), c.stats(ctx), c.unmount(ctx))
}

func userOptions(ctx context.Context, w *world) error {
	c := w.root(w.one)
	c.options = []string{"timeo=300,noac", "nosuid", "noatime"}
	if err := c.mount(ctx); err != nil {
		return err
	}
	if err := errors.Join(c.shows("timeo=300", "noac", "nosuid", "noatime", "hard", "retrans=2", "vers=4.1"), c.unmount(ctx)); err != nil {
		return err
	}
	c.options = []string{"nconnect=4"}
	return refused(c.stage(ctx), codes.InvalidArgument, "nconnect", "EFS does not support")
}

func readOnly(ctx context.Context, w *world) error {
	writer, reader := w.root(w.one), w.root(w.one)
	reader.pod = "reader"
	if err := lane.InOrder(ctx, writer.mount, func(ctx context.Context) error { return reader.publishAs(ctx, true) }); err != nil {
		return err
	}
	err := errors.Join(writer.save("file", "text"), reader.holds("file", "text"))
	if e := reader.save("file", "other"); !errors.Is(e, unix.EROFS) {
		err = errors.Join(err, fmt.Errorf("writing through a read-only mount: %w", e))
	}
	if err := errors.Join(err, refused(reader.publishAs(ctx, false), codes.AlreadyExists, "read-only is true")); err != nil {
		return err
	}
	return lane.InOrder(ctx, reader.unpublish, writer.unmount)
}

func onePod(ctx context.Context, w *world) error {
	first, second := w.root(w.one), w.root(w.one)
	first.mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	second.mode, second.pod = first.mode, "second"
	if err := first.mount(ctx); err != nil {
		return err
	}
	if err := refused(second.publish(ctx), codes.FailedPrecondition, "one path"); err != nil {
		return err
	}
	return lane.InOrder(ctx, first.unpublish, second.publish, second.unmount)
}

func twoNodes(ctx context.Context, w *world) error {
	one, two := w.root(w.one), w.root(w.two)
	if err := lane.InOrder(ctx, one.mount, two.mount); err != nil {
		return err
	}
	err := errors.Join(one.save("a", "from one"), two.holds("a", "from one"), two.save("b", "from two"), one.holds("b", "from two"))
	// The server itself sees two clients.
	clients, e := os.ReadDir(w.a.Path("/proc/fs/nfsd/clients"))
	if len(clients) != 2 {
		err = errors.Join(err, e, fmt.Errorf("the server sees %d clients", len(clients)))
	}
	return errors.Join(err, two.unmount(ctx), one.unmount(ctx))
}

// owner is what the controller tells of the owner of a root or a directory.
func owner(uid, gid, perms string) map[string]string {
	return map[string]string{"diskbridge.io/uid": uid, "diskbridge.io/gid": gid, "diskbridge.io/perms": perms}
}

func freshRoot(ctx context.Context, w *world) error {
	c := w.root(w.one)
	c.context = owner("1000", "2000", "0770")
	if err := c.mount(ctx); err != nil {
		return err
	}
	if err := errors.Join(belongs(w.a.Root(), 1000, 2000, 0o770), c.touch("mine"), c.unmount(ctx)); err != nil {
		return err
	}
	// What its users changed stays as it is.
	if err := errors.Join(os.Chmod(w.a.Root(), 0o711), c.mount(ctx), belongs(w.a.Root(), 1000, 2000, 0o711)); err != nil {
		return err
	}
	return c.unmount(ctx)
}

// belongs proves owner, group and permissions on the server.
func belongs(path string, uid, gid uint32, perms uint32) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Uid != uid || st.Gid != gid || st.Mode&0o7777 != perms {
		return fmt.Errorf("%s belongs to %d:%d with %o, want %d:%d with %o", path, st.Uid, st.Gid, st.Mode&0o7777, uid, gid, perms)
	}
	return nil
}

// touch makes a file as a user who is not root.
func (c claim) touch(name string) error {
	args := []string{"/init", "touch-as-user", filepath.Join(c.target(), name)}
	if c.host != nil {
		args = c.host.Command(args...)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput() //nolint:noctx // it ends by itself
	if err != nil {
		return fmt.Errorf("user %d writes: %w: %s", userID, err, out)
	}
	return nil
}

func makesDirectory(ctx context.Context, w *world) error {
	c := w.directory(w.one, "/base/pvc-1", "pvc-1")
	second := c
	second.node = w.two
	if err := lane.InOrder(ctx, c.mount, second.mount); err != nil {
		return err
	}
	made := filepath.Join(w.a.Root(), "base/pvc-1")
	if err := errors.Join(belongs(made, 1000, 2000, 0o2770), c.touch("mine"), second.touch("mine too"), c.shows("source="+plainA+":/base/pvc-1")); err != nil {
		return err
	}
	markers, err := os.ReadDir(filepath.Join(w.a.Root(), ".diskbridge"))
	if err != nil || len(markers) != 1 {
		return fmt.Errorf("%d markers (%w)", len(markers), err)
	}
	if err := belongs(filepath.Join(w.a.Root(), ".diskbridge"), 0, 0, 0o700); err != nil {
		return err
	}
	// What its users changed stays as it is, on every node.
	if err := errors.Join(os.Chmod(made, 0o755), second.unmount(ctx), second.mount(ctx), belongs(made, 1000, 2000, 0o755)); err != nil {
		return err
	}
	return lane.InOrder(ctx, second.unmount, c.unmount)
}

func foreignDirectory(ctx context.Context, w *world) error {
	there := filepath.Join(w.a.Root(), "taken")
	if err := errors.Join(os.Mkdir(there, 0o755), os.WriteFile(there+"/file", []byte("somebody's"), 0o644)); err != nil {
		return err
	}
	c := w.directory(w.one, "/taken", "pvc-2")
	if err := errors.Join(refused(c.stage(ctx), codes.AlreadyExists, "no marker of ours"), belongs(there, 0, 0, 0o755)); err != nil {
		return err
	}
	// Under a handle of its own it is used as it is.
	static := w.root(w.one)
	static.handle = fsA + ":/taken"
	if err := static.mount(ctx); err != nil {
		return err
	}
	if err := errors.Join(static.holds("file", "somebody's"), static.unmount(ctx)); err != nil {
		return err
	}
	static.handle = fsA + ":/missing"
	return refused(static.stage(ctx), codes.NotFound, "no such directory")
}

func foreignMount(ctx context.Context, w *world) error {
	a, b := w.root(w.one), w.root(w.one)
	b.handle, b.address = fsA+":/sub", plainA
	if err := errors.Join(os.Mkdir(filepath.Join(w.a.Root(), "sub"), 0o755), a.mount(ctx)); err != nil {
		return err
	}
	// Another file system's root that somebody else has mounted where ours belongs.
	other := w.root(w.one)
	other.handle, other.address = fsB, plainB
	if err := errors.Join(os.MkdirAll(other.staging(), 0o750), inside.Run(ctx, "mount.nfs4", plainA+":/", other.staging(), "-n")); err != nil {
		return err
	}
	if err := errors.Join(refused(other.stage(ctx), codes.AlreadyExists, "did not mount it for "+fsB), unix.Unmount(other.staging(), 0)); err != nil {
		return err
	}
	_, err := a.csi.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: b.handle, StagingTargetPath: a.staging()})
	return errors.Join(refused(err, codes.AlreadyExists, "left alone"), a.unmount(ctx))
}
