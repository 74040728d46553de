package mount

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// bosh is the plan for an empty volume of that layout; each test changes one thing.
func bosh(fsType string) volume.BlockPlan {
	p := fresh(fsType)
	p.Layout = volume.LayoutBosh
	return p
}

// found is the plan for a volume of which nobody said what it carries.
func found(p volume.BlockPlan) volume.BlockPlan {
	p.MayFormat, p.Layout = false, volume.LayoutUnknown
	return p
}

func eachBoshFS(t *testing.T, test func(*testing.T, string)) {
	t.Helper()
	for _, fsType := range []string{volume.Ext4, volume.XFS} {
		t.Run(fsType, func(t *testing.T) { test(t, fsType) })
	}
}

// script partitions the disk as somebody else would.
func script(t *testing.T, d *mounttest.Disk, lines ...string) {
	t.Helper()
	_, err := execute(t.Context(), strings.Join(lines, "\n")+"\n", "/sbin/sfdisk", []string{"--no-reread", "--no-tell-kernel", d.Node})
	must(t, err)
}

const canonical = `start=1MiB, name="bosh-partition-0"`

// addPartition makes the kernel know a partition, as it does by itself on real disks.
func addPartition(t *testing.T, d *mounttest.Disk, bytes int64) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(d.Node, &st))
	must(t, tellKernel(device{node: d.Node, number: number(st.Rdev)}, unix.BLKPG_ADD_PARTITION, span{start: partitionStart, size: bytes}))
	waitFor(t, d.Node+"p1")
	return d.Node + "p1"
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Lstat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not appear", path)
		}
	}
}

func TestBlock_StageMakesTheBoshLayout(t *testing.T) {
	eachBoshFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, staging, target, ctx := newBlock(n), n.Mkdir("staging"), n.Path("target"), t.Context()
		for range 2 { // replay
			must(t, b.Stage(ctx, bosh(fsType), staging))
			must(t, b.Publish(ctx, bosh(fsType), staging, target, false))
		}
		if mountsAt(t, staging) != 1 || mountsAt(t, target) != 1 {
			t.Error("not mounted once each")
		}
		write(t, target+"/file", "hello")
		got := strings.ToLower(mounttest.Run(t, "sfdisk", "--dump", d.Node))
		for _, want := range []string{"label: gpt", "start=        2048", strings.ToLower(partitionType), `name="bosh-partition-0"`} {
			if !strings.Contains(got, want) {
				t.Errorf("the partition table does not say %q:\n%s", want, got)
			}
		}
		if strings.Count(got, "start=") != 1 {
			t.Errorf("there is not one partition:\n%s", got)
		}
		mounttest.Run(t, "sfdisk", "--verify", d.Node)
		s, err := b.Stats(ctx, handle, target)
		if err != nil || s.TotalBytes < size*8/10 {
			t.Errorf("Stats = %+v, %v", s, err)
		}
		wantKind(t, b.Unstage(ctx, handle, staging), fault.InUse, target)
		wantKind(t, b.Stage(ctx, bosh(fsType), n.Mkdir("other")), fault.InUse, staging)
		must(t, b.Unpublish(ctx, handle, target))
		must(t, b.Unstage(ctx, handle, staging))

		t.Run("and finds it again, told so or not, but not as a raw volume", func(t *testing.T) {
			for _, plan := range []volume.BlockPlan{bosh(fsType), found(fresh(fsType))} {
				must(t, newBlock(n).Stage(ctx, plan, staging))
				wantFile(t, staging+"/file", "hello")
				must(t, b.Unstage(ctx, handle, staging))
			}
			raw, before := fresh(fsType), d.Sum()
			raw.Layout = volume.LayoutRaw
			wantKind(t, b.Stage(ctx, raw, staging), fault.InUse, "partition table", "diskbridge.io/layout=bosh", "nothing was touched")
			if d.Sum() != before {
				t.Error("the disk's bytes changed")
			}
		})
		t.Run("and attaches a copy of it elsewhere, read-only without writing", func(t *testing.T) {
			other := mounttest.NewNode(t)
			copied := other.AttachCopy(serial2, d, size)
			before, plan := copied.Sum(), second(found(fresh(fsType)))
			plan.ReadOnly, plan.Clean = true, true
			must(t, newBlock(other).Stage(ctx, plan, other.Mkdir("staging")))
			wantFile(t, other.Path("staging")+"/file", "hello")
			must(t, newBlock(other).Unstage(ctx, handle2, other.Path("staging")))
			if copied.Sum() != before {
				t.Error("a read-only mount changed the disk")
			}
		})
	})
}

// What a crash leaves between the steps of a first stage is taken up where it stopped.
func TestBlock_StageGoesOnAfterACrash(t *testing.T) {
	for name, known := range map[string]bool{"after the table": false, "after the kernel was told": true} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			script(t, d, "label: gpt", canonical)
			if known {
				addPartition(t, d, size-2*mib)
			}
			before, staging := d.Sum(), n.Mkdir("staging")
			for _, plan := range []volume.BlockPlan{found(bosh(volume.Ext4)), fresh(volume.Ext4)} {
				wantKind(t, newBlock(n).Stage(t.Context(), plan, staging), fault.InUse)
			}
			if d.Sum() != before {
				t.Error("the disk's bytes changed without leave")
			}
			must(t, newBlock(n).Stage(t.Context(), bosh(volume.Ext4), staging))
			write(t, staging+"/file", "hello")
		})
	}
}

func TestBlock_StageRefusesOtherPartitions(t *testing.T) {
	mkfs := func(t *testing.T, d *mounttest.Disk) {
		mounttest.Run(t, "mkfs.ext4", "-q", addPartition(t, d, 100*mib))
	}
	tables := func(lines ...string) func(*testing.T, *mounttest.Disk) {
		return func(t *testing.T, d *mounttest.Disk) { script(t, d, lines...) }
	}
	for name, tc := range map[string]struct {
		fill func(*testing.T, *mounttest.Disk)
		says string
	}{
		"two partitions":          {tables("label: gpt", `start=1MiB, size=100MiB, name="bosh-partition-0"`, `name="bosh-partition-1"`), "2 partitions"},
		"no partition":            {tables("label: gpt"), "0 partitions"},
		"a foreign name":          {tables("label: gpt", `start=1MiB, name="EFI System"`), `named "EFI System"`},
		"another beginning":       {tables("label: gpt", `start=2MiB, name="bosh-partition-0"`), "from byte 2097152 on"},
		"not the first entry":     {tables("label: gpt", `2 : start=1MiB, name="bosh-partition-0"`), "not the first"},
		"an MBR with one":         {tables("label: dos", "start=1MiB, type=83"), "dos partition table"},
		"an MBR with several":     {tables("label: dos", "size=100MiB", "size=100MiB"), "dos partition table"},
		"a file system before it": {func(t *testing.T, d *mounttest.Disk) { mounttest.Run(t, "mkfs.xfs", "-q", d.Node) }, "xfs"},
		"another file system":     {func(t *testing.T, d *mounttest.Disk) { script(t, d, "label: gpt", canonical); mkfs(t, d) }, "ext4"},
		"data that nobody knows": {func(t *testing.T, d *mounttest.Disk) {
			script(t, d, "label: gpt", canonical)
			d.WriteAt([]byte("precious"), 3*mib/2)
		}, "no known format"},
		"data at the disk's start": {func(_ *testing.T, d *mounttest.Disk) { d.WriteAt([]byte("precious"), 4096) }, "no known format"},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			tc.fill(t, d)
			before, staging := d.Sum(), n.Mkdir("staging")
			for _, plan := range []volume.BlockPlan{bosh(volume.XFS), found(bosh(volume.Btrfs))} {
				err := newBlock(n).Stage(t.Context(), plan, staging)
				wantKind(t, err, fault.InUse, "nothing was touched")
				if plan.Layout == volume.LayoutBosh && !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v does not say %q", err, tc.says)
				}
			}
			if d.Sum() != before || mountsAt(t, staging) != 0 {
				t.Error("the disk was touched or mounted")
			}
		})
	}
}

func TestBlock_ExpandAPartition(t *testing.T) {
	eachBoshFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, ctx, plan, staging, target := newBlock(n), t.Context(), bosh(fsType), n.Mkdir("staging"), n.Path("target")
		must(t, b.Stage(ctx, plan, staging))
		must(t, b.Publish(ctx, plan, staging, target, false))
		write(t, target+"/file", "hello")
		bytes, err := b.Expand(ctx, plan, "", target, size)
		if err != nil || bytes != size {
			t.Fatalf("a file system of the right size: %d, %v", bytes, err)
		}
		before := partitionUUID(t, d)
		d.Grow(2 * size)
		bytes, err = b.Expand(ctx, plan, "", target, 2*size)
		if fsType == volume.Ext4 && !mayGrowExt4() {
			wantKind(t, err, fault.Denied, "CAP_SYS_RESOURCE")
			must(t, b.Unpublish(ctx, handle, target))
			must(t, b.Unstage(ctx, handle, staging))
			must(t, b.Stage(ctx, plan, staging))
			bytes, err = b.Expand(ctx, plan, "", staging, 2*size) // proves the size, and not only that of the partition
		}
		if err != nil || bytes != 2*size {
			t.Fatalf("Expand = %d, %v", bytes, err)
		}
		s, err := b.Stats(ctx, handle, staging)
		if err != nil || s.TotalBytes < size*18/10 {
			t.Errorf("Stats = %+v, %v; want nearly %d bytes", s, err, 2*size)
		}
		wantFile(t, staging+"/file", "hello")
		mounttest.Run(t, "sfdisk", "--verify", d.Node)
		if after := partitionUUID(t, d); after != before {
			t.Errorf("the partition was %s and is now %s", before, after)
		}
	})
}

func partitionUUID(t *testing.T, d *mounttest.Disk) string {
	t.Helper()
	return mounttest.Run(t, "sfdisk", "--part-uuid", d.Node, "1")
}

// The size of the file system is compared with that of the partition, and that with the disk's: after each crash in
// between, the next call goes on.
func TestBlock_ExpandGoesOnAfterACrash(t *testing.T) {
	for name, crash := range map[string]func(*testing.T, *Block, device){
		"after the table": func(t *testing.T, b *Block, disk device) {
			must(t, b.work(t.Context(), "test", handle, func(task *task) error {
				return b.sfdisk(t.Context(), task, disk, fmt.Sprintf(",%dMiB\n", wholeDisk(2*size).size/mib), "-N", "1")
			}))
		},
		"after the partition": func(t *testing.T, b *Block, disk device) {
			must(t, b.work(t.Context(), "test", handle, func(task *task) error {
				return b.growPartition(t.Context(), task, b.sysfs.at(disk, disk.first))
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			b, ctx, staging := newBlock(n), t.Context(), n.Mkdir("staging")
			must(t, b.Stage(ctx, bosh(volume.XFS), staging))
			d.Grow(2 * size)
			disk, err := b.sysfs.find(serial)
			must(t, err)
			crash(t, b, disk)
			small, err := b.Stats(ctx, handle, staging)
			if err != nil || small.TotalBytes > size {
				t.Fatalf("Stats = %+v, %v: it has grown already", small, err)
			}
			_, err = b.Expand(ctx, bosh(volume.XFS), "", staging, 2*size)
			must(t, err)
			s, err := b.Stats(ctx, handle, staging)
			if err != nil || s.TotalBytes < size*18/10 {
				t.Errorf("Stats = %+v, %v; want nearly %d bytes", s, err, 2*size)
			}
		})
	}
}

func TestBlock_StageGrowsAPartitionOfALargerDisk(t *testing.T) {
	eachBoshFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		source := n.Attach(serial, size)
		b, ctx := newBlock(n), t.Context()
		must(t, b.Stage(ctx, bosh(fsType), n.Mkdir("source")))
		write(t, n.Path("source")+"/file", "hello")
		must(t, b.Unstage(ctx, handle, n.Path("source")))
		n.AttachCopy(serial2, source, 2*size)
		must(t, b.Stage(ctx, second(found(fresh(fsType))), n.Mkdir("copy")))
		s, err := b.Stats(ctx, handle2, n.Path("copy"))
		if err != nil || s.TotalBytes < size*18/10 {
			t.Errorf("Stats = %+v, %v; want nearly %d bytes", s, err, 2*size)
		}
		wantFile(t, n.Path("copy")+"/file", "hello")
	})
}

func TestWholeDisk(t *testing.T) {
	for bytes, end := range map[int64]int64{1 << 30: 1<<30 - mib, 1<<30 + 512: 1<<30 - mib, 1<<30 + mib - 512: 1<<30 - mib, 1<<30 + mib: 1 << 30} {
		s := wholeDisk(bytes)
		if s.start != mib || s.start+s.size != end || bytes-s.start-s.size >= partitionSlack {
			t.Errorf("a disk of %d bytes gets %+v", bytes, s)
		}
	}
}
