package devices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

// Tree is a [storage.Storage] on the kernel's loop devices. All it knows is on disk (image files, device trees)
// and in the kernel (which loop device has which file), so that it goes on after a kill where it stopped.
type Tree struct {
	dir  string
	lock *os.File

	stop    context.CancelFunc // ends watch
	watched chan struct{}      // closed once it has ended

	mu     sync.Mutex     // guards device trees and what follows
	loops  map[string]int // volume id -> N of /dev/loopN; a hint, checked against the kernel on use
	parted bool           // some tree shows partitions
}

var _ storage.Storage = (*Tree)(nil)

// ids are the only names that become parts of paths.
var ids = regexp.MustCompile(`^(vol|snap|i)-[0-9a-z]+$`)

// New opens or makes a tree in stateDir. It fails where stateDir does not allow device nodes, where loop devices cannot
// be had, and where another process uses stateDir. The caller must Close the tree.
func New(stateDir string) (*Tree, error) {
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"images", "instances"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	// The kernel reports backing files by their real path.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if err := checkNodes(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{dir: dir, lock: lock, watched: make(chan struct{}), loops: map[string]int{}, parted: true}
	if err := t.recover(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	go t.watch(ctx)
	return t, nil
}

// checkNodes proves that a device node in dir can be made and opened, and that loop devices can be had.
func checkNodes(dir string) error {
	hint := "the emulator's loop devices need root and a state directory on a file system without nodev; choose another --state-dir or use --devices=none"
	probe := filepath.Join(dir, ".node-check")
	defer func() { _ = os.Remove(probe) }()
	_ = os.Remove(probe)
	if err := unix.Mknod(probe, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf("state directory %s: cannot make a device node: %w; %s", dir, err, hint)
	}
	f, err := os.OpenFile(probe, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("state directory %s: device nodes cannot be opened: %w; %s", dir, err, hint)
	}
	_ = f.Close()
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("no loop devices: %w; load the loop module or use --devices=none", err)
	}
	return control.Close()
}

func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "devices.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("state directory %s is used by another emulator: %w", dir, err)
	}
	return lock, nil
}

// recover finds the loop devices that an earlier process left and releases those that no instance shows and nobody uses.
// A used one stays its volume's: a second device on the same file would be a second disk with the same bytes.
func (t *Tree) recover() error {
	found, err := backedBy(filepath.Join(t.dir, "images"))
	if err != nil {
		return err
	}
	shown, err := t.shown()
	if err != nil {
		return err
	}
	for id, numbers := range found {
		for _, n := range numbers {
			_, taken := t.loops[id]
			if !taken && len(shown[id]) > 0 && backs(n, t.image(id)) {
				t.loops[id] = n
				continue
			}
			err := clearLoop(n, t.image(id))
			if err == nil && !taken {
				err = keepLoop(n, t.image(id))
			}
			switch {
			case errors.Is(err, storage.ErrBusy):
				t.loops[id] = n
			case err != nil:
				return err
			}
		}
	}
	return nil
}

// shown maps volume ids to the device trees that show them.
func (t *Tree) shown() (map[string][]nvmeTree, error) {
	entries, err := os.ReadDir(filepath.Join(t.dir, "instances"))
	if err != nil {
		return nil, err
	}
	out := map[string][]nvmeTree{}
	for _, e := range entries {
		tree := t.instance(e.Name())
		names, err := tree.names()
		if err != nil {
			return nil, err
		}
		for _, id := range names {
			out[id] = append(out[id], tree)
		}
	}
	return out, nil
}

func (t *Tree) instance(id string) nvmeTree { return nvmeTree(filepath.Join(t.dir, "instances", id)) }

func checkIDs(names ...string) error {
	for _, name := range names {
		if !ids.MatchString(name) {
			return fmt.Errorf("%q is not the id of a volume, a snapshot or an instance", name)
		}
	}
	return nil
}

// Roots implements [storage.Storage].
func (t *Tree) Roots(instanceID string) (deviceRoot, sysfsRoot string) {
	tree := t.instance(instanceID)
	return tree.path("dev"), tree.path("sys")
}

// AddInstance implements [storage.Storage]. The new tree shows the root disk, nvme0n1, as sysfs entries without a node.
func (t *Tree) AddInstance(_ context.Context, instanceID string) error {
	if err := checkIDs(instanceID); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.instance(instanceID).init()
}

// Attach implements [storage.Storage]. Instances that share a volume share its loop device, and so its page cache.
func (t *Tree) Attach(ctx context.Context, instanceID, volumeID string) error {
	if err := checkIDs(instanceID, volumeID); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tree := t.instance(instanceID)
	if err := tree.init(); err != nil {
		return err
	}
	n, held := t.loop(volumeID)
	if !held {
		var err error
		if n, err = configureLoop(ctx, t.image(volumeID)); err != nil {
			return fmt.Errorf("attach %s to %s: %w", volumeID, instanceID, err)
		}
		t.loops[volumeID] = n
	}
	if err := tree.show(volumeID, n); err != nil {
		return fmt.Errorf("attach %s to %s: %w", volumeID, instanceID, err)
	}
	return nil
}

// loop returns the number of the volume's loop device, if the kernel agrees that it has one.
func (t *Tree) loop(volumeID string) (n int, held bool) {
	if n, held = t.loops[volumeID]; held && !backs(n, t.image(volumeID)) {
		delete(t.loops, volumeID)
		return 0, false
	}
	return n, held
}

// Detach implements [storage.Storage]. A forced detach removes the nodes at once and the loop device when its last user closes it.
func (t *Tree) Detach(ctx context.Context, instanceID, volumeID string, force bool) error {
	if err := checkIDs(instanceID, volumeID); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	shown, err := t.shown()
	if err != nil {
		return err
	}
	tree, others := t.instance(instanceID), 0
	for _, other := range shown[volumeID] {
		if other != tree {
			others++
		}
	}
	switch n, held := t.loop(volumeID); {
	case !held: // nothing in the kernel: only entries may be left
	case others > 0 && !force:
		err = sharedUse(n, tree)
	case others > 0:
	default:
		err = t.release(ctx, tree, volumeID, n, force)
	}
	if err != nil {
		return fmt.Errorf("detach %s from %s: %w", volumeID, instanceID, err)
	}
	return tree.hide(volumeID)
}

// release frees the volume's loop device. The nodes go first, so that none ever leads to somebody else's bytes;
// they come back if the device turns out to be busy.
func (t *Tree) release(ctx context.Context, tree nvmeTree, volumeID string, n int, force bool) error {
	withdraw := func() error { return tree.withdraw(volumeID) }
	var err error
	if force {
		err = errors.Join(withdraw(), clearLoop(n, t.image(volumeID)))
	} else {
		err = releaseLoop(ctx, n, t.image(volumeID), withdraw)
	}
	if err != nil {
		return errors.Join(err, tree.show(volumeID, n))
	}
	delete(t.loops, volumeID)
	return nil
}

// Close implements [storage.Storage]: all device nodes and loop devices go, a used one when its last user closes it.
func (t *Tree) Close() error {
	t.stop()
	<-t.watched
	t.mu.Lock()
	defer t.mu.Unlock()
	shown, err := t.shown()
	errs := []error{err}
	for id, trees := range shown {
		for _, tree := range trees {
			errs = append(errs, tree.hide(id))
		}
	}
	for id, n := range t.loops {
		errs = append(errs, clearLoop(n, t.image(id)))
		delete(t.loops, id)
	}
	return errors.Join(append(errs, t.lock.Close())...)
}
