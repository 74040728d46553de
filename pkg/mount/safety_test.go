package mount

import (
	"errors"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Whatever a disk carries that the plan did not ask for stays as it is, byte by byte.
func TestBlock_StageNeverOverwrites(t *testing.T) {
	script := func(name string, args ...string) func(*testing.T, *mounttest.Disk) {
		return func(t *testing.T, d *mounttest.Disk) { mounttest.Run(t, name, append(args, d.Node)...) }
	}
	at := func(offset int64) func(*testing.T, *mounttest.Disk) {
		return func(_ *testing.T, d *mounttest.Disk) { d.WriteAt([]byte("precious"), offset) }
	}
	for name, tc := range map[string]struct {
		fill func(*testing.T, *mounttest.Disk)
		says string
	}{
		"another file system":               {script("mkfs.xfs", "-q"), "xfs"},
		"an older file system of its kind":  {script("mkfs.ext3", "-q"), "ext3"},
		"a swap area":                       {script("mkswap"), "swap"},
		"a partition table":                 {func(_ *testing.T, d *mounttest.Disk) { d.WriteAt(mbr(), 0) }, "dos partition table"},
		"data at the beginning":             {at(0), "no known format"},
		"data in the first MiB":             {at(700_000), "no known format"},
		"data at the end":                   {at(size - 4096), "no known format"},
		"an ext4 whose beginning was wiped": {wipedExt4, "no known format"},
		"an xfs whose beginning was wiped":  {wipedXFS, "no known format"},
		"a btrfs whose beginning was wiped": {wipedBtrfs, "no known format"},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			tc.fill(t, d)
			before := d.Sum()
			staging := n.Mkdir("staging")
			wantKind(t, newBlock(n).Stage(t.Context(), fresh(volume.Ext4), staging), fault.InUse, tc.says, d.Node, "nothing was touched")
			if d.Sum() != before {
				t.Error("the disk's bytes changed")
			}
			if mountsAt(t, staging) != 0 {
				t.Error("it was mounted")
			}
		})
	}
}

// mbr is a partition table with one Linux partition.
func mbr() []byte {
	sector := make([]byte, 512)
	copy(sector[446:], []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 8, 0})
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

func wipedExt4(t *testing.T, d *mounttest.Disk) {
	mounttest.Run(t, "mkfs.ext4", "-q", "-b", "4096", d.Node)
	d.WriteAt(make([]byte, 4*mib), 0)
}

func wipedXFS(t *testing.T, d *mounttest.Disk) {
	mounttest.Run(t, "mkfs.xfs", "-q", d.Node)
	d.WriteAt(make([]byte, 4*mib), 0)
}

func wipedBtrfs(t *testing.T, d *mounttest.Disk) {
	mounttest.Run(t, "mkfs.btrfs", "-q", d.Node)
	d.WriteAt(make([]byte, 4*mib), 0)
}

func TestBlock_StageDoesNotFormatWithoutLeave(t *testing.T) {
	for name, change := range map[string]func(*volume.BlockPlan){
		"restored, cloned or static": func(p *volume.BlockPlan) { p.MayFormat = false },
		"read-only":                  func(p *volume.BlockPlan) { p.ReadOnly = true },
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			before, plan := d.Sum(), fresh(volume.Ext4)
			change(&plan)
			wantKind(t, newBlock(n).Stage(t.Context(), plan, n.Mkdir("staging")), fault.InUse, "it is empty")
			if d.Sum() != before {
				t.Error("the disk's bytes changed")
			}
		})
	}
}

func TestBlock_StageOfADamagedFileSystem(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	mounttest.Run(t, "mkfs.ext4", "-q", "-b", "4096", "-O", "^metadata_csum", d.Node)
	mounttest.Run(t, "debugfs", "-w", "-R", "clri <2>", d.Node)    // no root directory: nothing that -p repairs
	mounttest.Run(t, "debugfs", "-w", "-R", "ssv state 2", d.Node) // known to have errors
	staging := n.Mkdir("staging")
	err := newBlock(n).Stage(t.Context(), fresh(volume.Ext4), staging)
	wantKind(t, err, fault.InUse, "damaged", "e2fsck -f "+d.Node)
	var tool *ToolError
	if !errors.As(err, &tool) || tool.ExitCode < 4 {
		t.Errorf("the tool's error is lost: %v", err)
	}
	if mountsAt(t, staging) != 0 {
		t.Error("a damaged file system was mounted")
	}
}

func TestBlock_StageRepairsWhatIsSafe(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	mounttest.Run(t, "mkfs.ext4", "-q", d.Node)
	mounttest.Run(t, "debugfs", "-w", "-R", "ssv state 0", d.Node) // not cleanly unmounted
	must(t, newBlock(n).Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("staging")))
}
