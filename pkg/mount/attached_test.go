package mount

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// pointsOf returns where the disk with the serial number is mounted, or fails the test if it is not listed.
func pointsOf(t *testing.T, b *Block, serial string) []string {
	t.Helper()
	all, err := b.Attached()
	must(t, err)
	i := slices.IndexFunc(all, func(a Attached) bool { return a.Serial == serial })
	if i < 0 || all[i].Model != "Amazon Elastic Block Store" {
		t.Fatalf("%s is not listed as an EBS volume: %+v", serial, all)
	}
	return all[i].Points
}

func TestBlock_Attached(t *testing.T) {
	n, b, staging := stagedNode(t)
	n.Attach("vol0bbbbbbbbbbbbbbbb", size)
	if got := pointsOf(t, b, "vol0bbbbbbbbbbbbbbbb"); len(got) > 0 {
		t.Errorf("a disk that nobody uses is mounted at %q", got)
	}
	must(t, b.Publish(t.Context(), fresh(volume.Ext4), staging, n.Path("target"), false))
	if got := pointsOf(t, b, serial); !slices.Equal(got, []string{staging, n.Path("target")}) {
		t.Errorf("mounted at %q", got)
	}
	must(t, b.Unpublish(t.Context(), handle, n.Path("target")))
	must(t, b.Unstage(t.Context(), handle, staging))
	if got := pointsOf(t, b, serial); len(got) > 0 {
		t.Errorf("still mounted at %q", got)
	}
}

func TestBlock_AttachedSeesRawDevicesAndPartitions(t *testing.T) {
	n := mounttest.NewNode(t)
	disk := n.Attach(serial, size)
	b := newBlock(n)
	must(t, b.Stage(t.Context(), raw(), n.Mkdir("staging")))
	must(t, b.Publish(t.Context(), raw(), n.Path("staging"), n.Path("target"), false))
	if got := pointsOf(t, b, serial); !slices.Equal(got, []string{n.Path("target")}) {
		t.Errorf("the raw device is published at %q", got)
	}
	must(t, b.Unpublish(t.Context(), handle, n.Path("target")))

	other := n.Attach("vol0bbbbbbbbbbbbbbbb", size)
	mounttest.Run(t, "mkfs.ext4", "-q", other.Node)
	mounttest.Run(t, "mount", other.Node, n.Mkdir("partition"))
	number, err := os.ReadFile(filepath.Join(n.SysfsRoot, "class/block", other.Name, "dev"))
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(n.SysfsRoot, "class/block", other.Name)))
	second := filepath.Join(n.SysfsRoot, "class/block", disk.Name, disk.Name+"p2")
	must(t, os.MkdirAll(second, 0o755))
	must(t, os.WriteFile(second+"/dev", number, 0o600))
	if got := pointsOf(t, b, serial); !slices.Equal(got, []string{n.Path("partition")}) {
		t.Errorf("the partition is mounted at %q", got)
	}
}

func TestBlock_AttachedOnAMachineWithoutNVMe(t *testing.T) {
	if got, err := NewBlock(Config{SysfsRoot: t.TempDir()}).Attached(); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}
