package mount

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestBlock_StageFormatsAsAsked(t *testing.T) {
	for _, tc := range []struct {
		name, fsType string
		format       volume.Format
		says         []string // by dumpe2fs or xfs_info
	}{
		{"ext4 with small blocks and inodes by hand", volume.Ext4, volume.Format{BlockBytes: 1024, InodeBytes: 512, Inodes: 4096},
			[]string{"Block size: 1024", "Inode size: 512", "Inode count: 4096"}},
		{"ext4 with few inodes", volume.Ext4, volume.Format{BytesPerInode: 1 << 20}, []string{"Inode count: 512"}},
		{"ext4 with clusters and encryption", volume.Ext4, volume.Format{BigAlloc: true, ClusterBytes: 32768, Encryption: true},
			[]string{"Cluster size: 32768", "bigalloc", "encrypt", "has_journal", "metadata_csum"}},
		{"xfs with small blocks", volume.XFS, volume.Format{BlockBytes: 1024, InodeBytes: 512}, []string{"isize=512", "bsize=1024"}},
		{"xfs with large inodes", volume.XFS, volume.Format{InodeBytes: 2048}, []string{"isize=2048", "bsize=4096"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			b, plan, staging := newBlock(n), fresh(tc.fsType), n.Mkdir("staging")
			plan.Format = tc.format
			for range 2 { // replay
				must(t, b.Stage(t.Context(), plan, staging))
			}
			tool := map[string][]string{volume.Ext4: {"dumpe2fs", "-h", d.Node}, volume.XFS: {"xfs_info", staging}}[tc.fsType]
			got := strings.Join(strings.Fields(mounttest.Run(t, tool[0], tool[1:]...)), " ")
			for _, want := range tc.says {
				if !strings.Contains(got, want) {
					t.Errorf("%s does not say %q: %s", tool[0], want, got)
				}
			}
			write(t, staging+"/file", "hello")
			must(t, b.Unstage(t.Context(), handle, staging))
			plan.Format = volume.Format{} // only a new file system is shaped
			must(t, b.Stage(t.Context(), plan, staging))
			wantFile(t, staging+"/file", "hello")
		})
	}
}

func TestBlock_StageRefusesBlocksThatCannotBeMounted(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	before := d.Sum()
	for _, fsType := range []string{volume.Ext4, volume.XFS} {
		plan := fresh(fsType)
		plan.Format.BlockBytes = 2 * int64(os.Getpagesize())
		wantKind(t, newBlock(n).Stage(t.Context(), plan, n.Mkdir("staging")), fault.Invalid, "blockSize", fmt.Sprint(os.Getpagesize()))
	}
	if d.Sum() != before {
		t.Error("the disk's bytes changed")
	}
}
