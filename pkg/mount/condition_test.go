package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// reattach takes the disk away by force, and gives it back under another number. What still uses the old one does not write
// to the new.
func reattach(t *testing.T, n *mounttest.Node, d *mounttest.Disk) *mounttest.Disk {
	t.Helper()
	mounttest.Run(t, "sync")
	image := d.Image + ".again"
	mounttest.Run(t, "cp", "--sparse=always", d.Image, image)
	d.Detach()
	return n.AttachImage(d.Serial, image)
}

// wantWritable fails unless a file can be written and read where the volume with the file is mounted once.
func wantWritable(t *testing.T, point string) {
	t.Helper()
	if got := mountsAt(t, point); got != 1 {
		t.Fatalf("%d mounts at %s", got, point)
	}
	wantFile(t, point+"/file", "hello")
	write(t, point+"/new", "new")
}

func TestBlock_AMountOfAnEarlierAttachmentIsReplaced(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		for name, open := range map[string]bool{"unused": false, "in use": true} {
			for call, again := range map[string]func(*Block, *mounttest.Node) error{
				"by stage": func(b *Block, n *mounttest.Node) error {
					return b.Stage(t.Context(), fresh(fsType), n.Path("staging"))
				},
				"by publish": func(b *Block, n *mounttest.Node) error {
					return b.Publish(t.Context(), fresh(fsType), n.Path("staging"), n.Path("target"), false)
				},
				"by publish after a kill in between": func(b *Block, n *mounttest.Node) error {
					return errors.Join(unix.Unmount(n.Path("staging"), unix.MNT_DETACH),
						b.Publish(t.Context(), fresh(fsType), n.Path("staging"), n.Path("target"), false))
				},
			} {
				t.Run(call+", "+name, func(t *testing.T) {
					n := mounttest.NewNode(t)
					d := n.Attach(serial, size)
					b, ctx, staging, target, other := newBlock(n), t.Context(), n.Mkdir("staging"), n.Path("target"), n.Path("other")
					must(t, b.Stage(ctx, fresh(fsType), staging))
					must(t, b.Publish(ctx, fresh(fsType), staging, target, false))
					must(t, b.Publish(ctx, fresh(fsType), staging, other, true))
					write(t, staging+"/file", "hello")
					if open {
						f, err := os.Open(staging + "/file")
						must(t, err)
						t.Cleanup(func() { _ = f.Close() })
					}
					reattach(t, n, d)
					if fsType == volume.Btrfs && before(kernelRelease(), "6.7") { // these mount no second btrfs of one id
						wantKind(t, b.Stage(ctx, fresh(fsType), staging), fault.InUse, "with the same id")
						return
					}
					for range 2 {
						must(t, again(b, n))
						must(t, b.Publish(ctx, fresh(fsType), staging, target, false))
						must(t, b.Publish(ctx, fresh(fsType), staging, other, true))
						wantWritable(t, staging)
						wantWritable(t, target)
						if call == "by publish after a kill in between" {
							break
						}
					}
					must(t, b.Unpublish(ctx, handle, target))
					must(t, b.Unpublish(ctx, handle, other))
					must(t, b.Unstage(ctx, handle, staging))
				})
			}
		}
	})
}

// Kernels before 6.7 mount a btrfs again only after all that is left of it is gone.
func TestBlock_PublishReplacesABtrfsOfAnEarlierAttachment(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	b, ctx, plan, staging, target := newBlock(n), t.Context(), fresh(volume.Btrfs), n.Mkdir("staging"), n.Path("target")
	must(t, b.Stage(ctx, plan, staging))
	must(t, b.Publish(ctx, plan, staging, target, false))
	write(t, staging+"/file", "hello")
	d.Detach()
	n.AttachImage(serial, d.Image)
	must(t, b.Publish(ctx, plan, staging, target, false))
	wantWritable(t, target)
}

func TestBlock_AMountWhoseDiskIsGoneGoesAlsoInUse(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, ctx, staging, target := newBlock(n), t.Context(), n.Mkdir("staging"), n.Path("target")
		must(t, b.Stage(ctx, fresh(fsType), staging))
		must(t, b.Publish(ctx, fresh(fsType), staging, target, false))
		for _, point := range []string{staging, target} {
			write(t, point+"/file", "hello")
			f, err := os.Open(point + "/file")
			must(t, err)
			t.Cleanup(func() { _ = f.Close() })
		}
		d.Detach()
		wantKind(t, b.Unstage(ctx, handle, staging), fault.InUse, "still published")
		must(t, b.Unpublish(ctx, handle, target))
		must(t, b.Unstage(ctx, handle, staging))
		if mountsAt(t, staging)+mountsAt(t, target) != 0 {
			t.Error("something is still mounted")
		}
	})
}

func TestBlock_ARawTargetOfAnEarlierAttachmentIsReplaced(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	b, ctx, target := newBlock(n), t.Context(), n.Path("target")
	must(t, b.Publish(ctx, raw(), "", target, false))
	d = reattach(t, n, d)
	for range 2 {
		must(t, b.Publish(ctx, raw(), "", target, false))
		var is, want unix.Stat_t
		must(t, errors.Join(unix.Stat(target, &is), unix.Stat(d.Node, &want)))
		if is.Rdev != want.Rdev || mountsAt(t, target) != 1 {
			t.Fatalf("the target shows block device %s and not %s", number(is.Rdev), number(want.Rdev))
		}
	}
	d = reattach(t, n, d)
	must(t, b.Unpublish(ctx, handle, target))

	other := n.Attach(serial2, size)
	write(t, target, "")
	must(t, unix.Mount(other.Node, target, "", unix.MS_BIND, ""))
	wantKind(t, b.Publish(ctx, raw(), "", target, false), fault.Conflict, other.Node, serial2, "and not disk "+d.Node)
	wantKind(t, b.Unpublish(ctx, handle, target), fault.Conflict, other.Node, serial2)
}

// A disk that no volume of ours has stays, whether sysfs knows it or not.
func TestBlock_ForeignDisksAreNeverTakenForGone(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	other := n.Attach("hidden", size)
	loop, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%s", numberOf(t, other)))
	must(t, err)
	node := "/dev/" + filepath.Base(loop)
	mounttest.Run(t, "mkfs.ext4", "-q", node)
	mounttest.Run(t, "mount", node, n.Mkdir("staging"))
	other.Detach()
	b, ctx := newBlock(n), t.Context()
	wantKind(t, b.Stage(ctx, fresh(volume.Ext4), n.Path("staging")), fault.Conflict, node)
	wantKind(t, b.Publish(ctx, fresh(volume.Ext4), n.Mkdir("none"), n.Path("staging"), false), fault.InUse)
	wantKind(t, b.Unstage(ctx, handle, n.Path("staging")), fault.Conflict, node)
	wantKind(t, b.Unpublish(ctx, handle, n.Path("staging")), fault.Conflict, node)
	if mountsAt(t, n.Path("staging")) != 1 {
		t.Error("it is gone")
	}
}

func numberOf(t *testing.T, d *mounttest.Disk) devno {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(d.Node, &st))
	return number(st.Rdev)
}

// breaks are how a mounted file system comes to refuse writes.
func breaks() map[string]func(*testing.T, *mounttest.Disk, string) {
	forced := func(t *testing.T, _ *mounttest.Disk, point string) { // as kernels before 6.15 show an error
		must(t, unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		must(t, unix.MountSetattr(unix.AT_FDCWD, point, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	}
	return map[string]func(*testing.T, *mounttest.Disk, string){
		"ext4 after an error": func(t *testing.T, d *mounttest.Disk, point string) {
			must(t, unix.Mount("", point, "", unix.MS_REMOUNT, "errors=remount-ro"))
			link, err := os.Readlink("/sys/dev/block/" + numberOf(t, d).String())
			must(t, err)
			must(t, os.WriteFile("/sys/fs/ext4/"+filepath.Base(link)+"/trigger_fs_error", []byte("test"), 0))
		},
		"ext4 shut down":       func(t *testing.T, _ *mounttest.Disk, point string) { shutdown(t, point) },
		"xfs shut down":        func(t *testing.T, _ *mounttest.Disk, point string) { shutdown(t, point) },
		"ext4 made read-only":  forced,
		"xfs made read-only":   forced,
		"btrfs made read-only": forced,
	}
}

// broken gives a node with a staged volume that refuses writes.
func broken(t *testing.T, name string, targets ...string) (b *Block, n *mounttest.Node, plan volume.BlockPlan) {
	t.Helper()
	n = mounttest.NewNode(t)
	d := n.Attach(serial, size)
	var fsType string
	_, err := fmt.Sscan(name, &fsType)
	must(t, err)
	b, plan = newBlock(n), fresh(fsType)
	b.deviceWait = time.Second
	must(t, b.Stage(t.Context(), plan, n.Mkdir("staging")))
	write(t, n.Path("staging")+"/file", "hello")
	mounttest.Run(t, "sync", "-f", n.Path("staging"))
	for _, target := range targets {
		must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path(target), false))
	}
	breaks()[name](t, d, n.Path("staging"))
	if err := os.WriteFile(n.Path("staging")+"/refused", nil, 0o600); err == nil {
		t.Fatal("the file system still takes writes")
	}
	return b, n, plan
}

func TestBlock_AFailedFileSystemIsMountedAgain(t *testing.T) {
	for name := range breaks() {
		t.Run(name, func(t *testing.T) {
			t.Run("by stage", func(t *testing.T) {
				b, n, plan := broken(t, name)
				must(t, b.Stage(t.Context(), plan, n.Path("staging")))
				wantWritable(t, n.Path("staging"))
			})
			t.Run("by publish", func(t *testing.T) {
				b, n, plan := broken(t, name)
				must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), false))
				wantWritable(t, n.Path("target"))
				must(t, b.Unpublish(t.Context(), handle, n.Path("target")))
				must(t, b.Unstage(t.Context(), handle, n.Path("staging")))
			})
		})
	}
}

// Whoever uses the file system keeps it, and is named; what is mounted stays.
func TestBlock_AFailedFileSystemInUseIsRefused(t *testing.T) {
	for name := range breaks() {
		t.Run(name, func(t *testing.T) {
			refused := func(t *testing.T, b *Block, n *mounttest.Node, plan volume.BlockPlan, names string) {
				t.Helper()
				ctx, staging := t.Context(), n.Path("staging")
				wantKind(t, b.Publish(ctx, plan, staging, n.Path("new"), false), fault.InUse, "when nothing uses it any more", names)
				wantKind(t, b.Stage(ctx, plan, staging), fault.InUse, "when nothing uses it any more", names)
				if mountsAt(t, staging) != 1 {
					t.Fatal("the volume is no longer staged")
				}
			}
			t.Run("published elsewhere", func(t *testing.T) {
				b, n, plan := broken(t, name, "target")
				refused(t, b, n, plan, n.Path("target"))
				must(t, b.Unpublish(t.Context(), handle, n.Path("target")))
				must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), false))
				wantWritable(t, n.Path("target"))
			})
			t.Run("in another mount namespace", func(t *testing.T) {
				b, n, plan := broken(t, name)
				pid, end := elsewhere(t)
				refused(t, b, n, plan, fmt.Sprintf("process %d (sleep)", pid))
				end()
				must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), false))
				wantWritable(t, n.Path("target"))
			})
			t.Run("by a mount that nobody can see", func(t *testing.T) {
				b, n, plan := broken(t, name)
				must(t, unix.MountSetattr(unix.AT_FDCWD, n.Path("staging"), 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}))
				tree, err := unix.OpenTree(unix.AT_FDCWD, n.Path("staging"), unix.OPEN_TREE_CLONE)
				must(t, err)
				refused(t, b, n, plan, "no process that is visible from here has mounted")
				mounts, err := readTable()
				must(t, err)
				if e, _ := mounts.at(n.Path("staging")); !slices.Contains(e.options, "nosuid") || !slices.Contains(e.options, "rw") {
					t.Errorf("it is mounted back with %q", e.options)
				}
				must(t, unix.Close(tree))
				must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), false))
				wantWritable(t, n.Path("target"))
			})
			t.Run("by a process", func(t *testing.T) {
				b, n, plan := broken(t, name)
				dir, err := unix.Open(n.Path("staging"), unix.O_PATH, 0)
				must(t, err)
				wantKind(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), false), fault.InUse, "(mount.test) uses it")
				must(t, unix.Close(dir))
				must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), false))
				wantWritable(t, n.Path("target"))
			})
		})
	}
}

func TestBlock_AFailedFileSystemAtItsOwnTarget(t *testing.T) {
	for name := range breaks() {
		t.Run(name, func(t *testing.T) {
			b, n, plan := broken(t, name, "target")
			ctx, staging, target := t.Context(), n.Path("staging"), n.Path("target")
			if name == "ext4 shut down" || name == "xfs shut down" { // nothing that a pod could still have of it
				must(t, b.Publish(ctx, plan, staging, target, false))
				wantWritable(t, target)
				return
			}
			wantKind(t, b.Publish(ctx, plan, staging, target, false), fault.InUse, "read-only after an error", target)
			must(t, b.Publish(ctx, plan, staging, n.Path("reader"), true))
			wantFile(t, n.Path("reader")+"/file", "hello")
			wantFile(t, target+"/file", "hello")
		})
	}
}

// A container that starts again meanwhile writes to what is seen at its target: it must never be the node's own disk.
func TestBlock_AFileSystemThatStaysInUseIsSeenAgainAtEveryPoint(t *testing.T) {
	for _, name := range []string{"ext4 shut down", "xfs shut down"} {
		for by, hold := range map[string]func(t *testing.T, staging string) int{
			"a mount that nobody can see": func(t *testing.T, staging string) int {
				tree, err := unix.OpenTree(unix.AT_FDCWD, staging, unix.OPEN_TREE_CLONE)
				must(t, err)
				return tree
			},
			"a process at the staging path": func(t *testing.T, staging string) int {
				dir, err := unix.Open(staging, unix.O_PATH, 0)
				must(t, err)
				return dir
			},
		} {
			t.Run(name+", held by "+by, func(t *testing.T) {
				b, n, plan := broken(t, name, "target")
				ctx, staging, target := t.Context(), n.Path("staging"), n.Path("target")
				must(t, unix.MountSetattr(unix.AT_FDCWD, target, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}))
				held := hold(t, staging)
				for range 2 {
					wantKind(t, b.Publish(ctx, plan, staging, target, true), fault.InUse)
					if mountsAt(t, staging) != 1 || mountsAt(t, target) != 1 {
						t.Fatalf("%d mounts at the staging path, %d at the target", mountsAt(t, staging), mountsAt(t, target))
					}
					if at := mountAt(t, target); !slices.Contains(at.options, "ro") || !slices.Contains(at.options, "nosuid") {
						t.Errorf("the target is mounted back with %q", at.options)
					}
				}
				must(t, unix.Close(held))
				must(t, b.Publish(ctx, plan, staging, target, true))
				wantFile(t, target+"/file", "hello")
				wantWritable(t, staging)
			})
		}
	}
}

func TestBlock_AFailedFileSystemIsReported(t *testing.T) {
	for name := range breaks() {
		t.Run(name, func(t *testing.T) {
			b, n, plan := broken(t, name, "target")
			ctx, staging, target := t.Context(), n.Path("staging"), n.Path("target")
			s, err := b.Stats(ctx, handle, target)
			if dead := strings.HasSuffix(name, "shut down"); dead && err == nil {
				t.Log("this kernel does not show that ext4 was shut down")
			} else if dead {
				wantKind(t, err, fault.Unavailable)
			} else if err != nil || !s.Failed {
				t.Errorf("Stats = %+v, %v", s, err)
			}
			failed := func() bool {
				all, err := b.Attached()
				must(t, err)
				return all[0].Failed
			}
			if name == "ext4 after an error" || strings.HasSuffix(name, "made read-only") {
				if !failed() {
					t.Error("Attached does not show it")
				}
			}
			must(t, b.Unpublish(ctx, handle, target))
			must(t, b.Stage(ctx, plan, staging))
			s, err = b.Stats(ctx, handle, staging)
			if err != nil || s.Failed || failed() {
				t.Errorf("after it was mounted again: Stats = %+v, %v; Attached shows %t", s, err, failed())
			}
		})
	}
}
