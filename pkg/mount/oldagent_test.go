package mount

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// sfdiskOfBosh is what BOSH's agents told sfdisk that did not use parted (PartitionerType ""): a partition without a name.
const sfdiskOfBosh = ",,L"

// TestBlock_StageMountsAnUnnamedPartition: what an old agent made on a GPT is mounted as BOSH's, and grows.
func TestBlock_StageMountsAnUnnamedPartition(t *testing.T) {
	eachBoshFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		script(t, d, "label: gpt", sfdiskOfBosh)
		mounttest.Run(t, "mkfs."+fsType, "-q", addPartition(t, d, wholeDisk(size).size))
		b, ctx, staging, uuid := newBlock(n), t.Context(), n.Mkdir("staging"), partitionUUID(t, d)
		for i, plan := range []volume.BlockPlan{found(bosh(fsType)), bosh(fsType)} {
			must(t, b.Stage(ctx, plan, staging))
			if i == 0 {
				write(t, staging+"/file", "hello")
			}
			wantFile(t, staging+"/file", "hello")
			must(t, b.Unstage(ctx, handle, staging))
		}
		n.AttachCopy(serial2, d, 2*size)
		must(t, b.Stage(ctx, second(found(fresh(fsType))), n.Mkdir("copy")))
		s, err := b.Stats(ctx, handle2, n.Path("copy"))
		if err != nil || s.TotalBytes < size*18/10 {
			t.Errorf("Stats = %+v, %v; want nearly %d bytes", s, err, 2*size)
		}
		wantFile(t, n.Path("copy")+"/file", "hello")
		must(t, b.Unstage(ctx, handle2, n.Path("copy")))
		if table := mounttest.Run(t, "sfdisk", "--dump", d.Node); partitionUUID(t, d) != uuid || strings.Contains(table, "name=") {
			t.Errorf("the table is another one:\n%s", table)
		}
	})
}

// TestBlock_StageRefusesOldAgentsDisks with one text, whatever their layout is said to be: none that leads from one layout
// to the other, and back.
func TestBlock_StageRefusesOldAgentsDisks(t *testing.T) {
	with := func(mkfs bool, lines ...string) func(*testing.T, *mounttest.Disk) {
		return func(t *testing.T, d *mounttest.Disk) {
			script(t, d, lines...)
			if mkfs {
				mounttest.Run(t, "mkfs.ext4", "-q", addPartition(t, d, 100*mib))
			}
		}
	}
	for name, fill := range map[string]func(*testing.T, *mounttest.Disk){
		"an MBR":                       with(true, "label: dos", sfdiskOfBosh),
		"an MBR, empty":                with(false, "label: dos", sfdiskOfBosh),
		"a GPT with another name":      with(true, "label: gpt", `start=1MiB, name="primary"`),
		"a GPT with several":           with(false, "label: gpt", "size=100MiB", "size=100MiB"),
		"a GPT with no name, for swap": with(false, "label: gpt", "start=1MiB, type=S"),
		"a GPT with no name, too late": with(false, "label: gpt", "start=3MiB, type=L"),
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			fill(t, d)
			before, texts := d.Sum(), map[string]bool{}
			raw := fresh(volume.Ext4)
			raw.Layout = volume.LayoutRaw
			for _, plan := range []volume.BlockPlan{bosh(volume.Ext4), found(bosh(volume.Ext4)), raw, fresh(volume.XFS)} {
				err := newBlock(n).Stage(t.Context(), plan, n.Mkdir("staging"))
				wantKind(t, err, fault.InUse, "nothing was touched", "If an old BOSH agent made the disk, let BOSH copy it", "diskbridge.io/layout does not change that")
				texts[err.Error()] = true
			}
			if len(texts) != 1 || d.Sum() != before {
				t.Errorf("texts %v; the disk is the same: %v", texts, d.Sum() == before)
			}
		})
	}
	t.Run("an unnamed partition without a file system is not formatted", func(t *testing.T) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		script(t, d, "label: gpt", sfdiskOfBosh)
		before := d.Sum()
		for _, plan := range []volume.BlockPlan{bosh(volume.Ext4), found(bosh(volume.XFS))} {
			wantKind(t, newBlock(n).Stage(t.Context(), plan, n.Mkdir("staging")), fault.InUse, "it is empty")
		}
		if d.Sum() != before {
			t.Error("it was touched")
		}
	})
}
