package mounttest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Node is a place to attach disks to.
type Node struct {
	DeviceRoot, SysfsRoot string
	// Dir is a folder for mount points. All that is mounted below it, or from this node's disks, is unmounted at the test's end.
	Dir string

	t    testing.TB
	root string
	next int
}

// NewNode makes a node without disks. It skips the test where it does not run as root; as root, a machine that cannot
// have loop devices fails it.
func NewNode(t testing.TB) *Node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("disks and mounts need root")
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	n := &Node{DeviceRoot: root + "/dev", SysfsRoot: root + "/sys", Dir: root + "/mnt", t: t, root: root}
	for _, dir := range []string{n.DeviceRoot, n.SysfsRoot + "/class/block", n.SysfsRoot + "/class/nvme", n.Dir} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	t.Cleanup(n.unmountAll)
	return n
}

// unmountAll takes away mounts in the reverse order of the mount table.
func (n *Node) unmountAll() {
	content, err := os.ReadFile("/proc/self/mountinfo")
	must(n.t, err)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	for _, line := range slices.Backward(lines) {
		if point := strings.Fields(line)[4]; strings.HasPrefix(point, n.root+"/") {
			err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if err != nil && !errors.Is(err, unix.EINVAL) { // a copy in a shared folder goes with its mount
				n.t.Errorf("unmount %s: %v", point, err)
			}
		}
	}
}

// Path returns a path below Dir, without making it.
func (n *Node) Path(name string) string { return filepath.Join(n.Dir, name) }

// Mkdir makes a directory below Dir and returns its path.
func (n *Node) Mkdir(name string) string {
	n.t.Helper()
	must(n.t, os.MkdirAll(n.Path(name), 0o755))
	return n.Path(name)
}

// Disk is an attached disk. Its bytes are in Image.
type Disk struct {
	Name, Node, Serial, Image string

	n    *Node
	loop *os.File // open as long as the disk is attached: the kernel frees the loop device at its last close
}

// Attach shows a new empty disk of that size in bytes.
func (n *Node) Attach(serial string, size int64) *Disk {
	n.t.Helper()
	image := filepath.Join(n.root, serial+".img")
	f, err := os.Create(image)
	must(n.t, err)
	must(n.t, errors.Join(f.Truncate(size), f.Close()))
	return n.AttachImage(serial, image)
}

// AttachCopy shows a copy of another disk, at least that many bytes large: of what the disk holds, as a snapshot does, and not
// of what the kernel has in memory for it.
func (n *Node) AttachCopy(serial string, of *Disk, size int64) *Disk {
	n.t.Helper()
	image := filepath.Join(n.root, serial+".img")
	Run(n.t, "cp", "--sparse=always", of.Image, image)
	st, err := os.Stat(image)
	must(n.t, err)
	must(n.t, os.Truncate(image, max(st.Size(), size)))
	return n.AttachImage(serial, image)
}

// AttachImage shows the file as a disk.
func (n *Node) AttachImage(serial, image string) *Disk {
	n.t.Helper()
	n.next++
	d := &Disk{Name: fmt.Sprintf("nvme%dn1", n.next), Serial: serial, Image: image, n: n, loop: openLoop(n.t, image)}
	d.Node = filepath.Join(n.DeviceRoot, d.Name)
	n.t.Cleanup(func() { _ = d.loop.Close() }) // before unmountAll, which was registered first: the last user frees it
	var st unix.Stat_t
	must(n.t, unix.Fstat(int(d.loop.Fd()), &st))
	must(n.t, unix.Mknod(d.Node, unix.S_IFBLK|0o660, int(st.Rdev)))
	controller := filepath.Join(n.SysfsRoot, "class/nvme", fmt.Sprintf("nvme%d", n.next))
	must(n.t, os.MkdirAll(controller, 0o755))
	n.write(controller+"/serial", fmt.Sprintf("%-20s", serial))
	n.write(controller+"/model", fmt.Sprintf("%-40s", "Amazon Elastic Block Store"))
	block := d.sysfs()
	must(n.t, os.MkdirAll(block, 0o755))
	must(n.t, os.Symlink(controller, block+"/device"))
	n.write(block+"/dev", fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	d.writeSize()
	d.showPartition()
	return d
}

// showPartition makes the kernel's first partition of the loop device appear as the disk's. Its sysfs entry is a link
// that leads somewhere as soon as there is one; the node needs somebody to make it, as devtmpfs does for real disks.
func (d *Disk) showPartition() {
	kernel := filepath.Join("/sys/block", filepath.Base(d.loop.Name()), filepath.Base(d.loop.Name())+"p1")
	must(d.n.t, os.Symlink(kernel, filepath.Join(d.sysfs(), d.Name+"p1")))
	stop, done := make(chan struct{}), make(chan struct{})
	d.n.t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				makePartitionNode(d.Node+"p1", kernel)
			}
		}
	}()
}

// makePartitionNode makes the node that sysfs tells of, anew where another one is there.
func makePartitionNode(node, kernel string) {
	content, err := os.ReadFile(filepath.Join(kernel, "dev"))
	var major, minor uint32
	if err == nil {
		_, err = fmt.Sscanf(string(content), "%d:%d", &major, &minor)
	}
	var st unix.Stat_t
	if err != nil || unix.Stat(node, &st) == nil && st.Rdev == unix.Mkdev(major, minor) {
		return
	}
	_ = os.Remove(node)
	_ = unix.Mknod(node, unix.S_IFBLK|0o660, int(unix.Mkdev(major, minor)))
}

func (n *Node) write(path, content string) {
	n.t.Helper()
	must(n.t, os.WriteFile(path, []byte(content+"\n"), 0o644))
}

func (d *Disk) sysfs() string { return filepath.Join(d.n.SysfsRoot, "class/block", d.Name) }

func (d *Disk) writeSize() {
	size, err := d.loop.Seek(0, io.SeekEnd)
	must(d.n.t, err)
	d.n.write(d.sysfs()+"/size", strconv.FormatInt(size/512, 10))
}

// SetSerial makes the disk answer to another serial number, as a reused name does.
func (d *Disk) SetSerial(serial string) {
	d.n.t.Helper()
	d.n.write(filepath.Join(d.sysfs(), "device/serial"), serial)
}

// Grow makes the disk larger.
func (d *Disk) Grow(size int64) {
	d.n.t.Helper()
	must(d.n.t, os.Truncate(d.Image, size))
	must(d.n.t, unix.IoctlSetInt(int(d.loop.Fd()), unix.LOOP_SET_CAPACITY, 0))
	d.writeSize()
}

// Detach removes the disk's node and entries, as a forced detach does.
func (d *Disk) Detach() {
	d.n.t.Helper()
	must(d.n.t, errors.Join(os.RemoveAll(d.sysfs()), os.Remove(d.Node), d.loop.Close()))
}

// Sum returns a hash of the disk's bytes. It skips blocks of zeros, since what the file keeps as a hole may change.
func (d *Disk) Sum() [sha256.Size]byte {
	d.n.t.Helper()
	must(d.n.t, d.loop.Sync())
	f, err := os.Open(d.Image)
	must(d.n.t, err)
	defer func() { _ = f.Close() }()
	hash, zeros, block := sha256.New(), make([]byte, 4096), make([]byte, 4096)
	for end := int64(0); ; {
		start, err := f.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return [sha256.Size]byte(hash.Sum(nil))
		}
		must(d.n.t, err)
		end, err = f.Seek(start, unix.SEEK_HOLE)
		must(d.n.t, err)
		for at := start &^ 4095; at < end; at += 4096 {
			_, err := f.ReadAt(block, at)
			must(d.n.t, err)
			if !bytes.Equal(block, zeros) {
				fmt.Fprintln(hash, at)
				hash.Write(block)
			}
		}
	}
}

// WriteAt writes to the disk.
func (d *Disk) WriteAt(content []byte, offset int64) {
	d.n.t.Helper()
	_, err := d.loop.WriteAt(content, offset)
	must(d.n.t, errors.Join(err, d.loop.Sync()))
}

func openLoop(t testing.TB, image string) *os.File {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = file.Close() }()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = control.Close() }()
	for range 100 {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		must(t, err)
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
		must(t, err)
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_PARTSCAN}}
		// btrfs-progs tells loop devices apart by this name, also those of another test that runs now.
		copy(config.Info.File_name[:], fmt.Sprintf("%.16x", sha256.Sum256([]byte(image))))
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			must(t, err)
		}
	}
	t.Fatal("no free loop device")
	return nil
}

// Run runs a tool and fails the test if the tool fails.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
