package bosh

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/doubles/agent"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestAgent_TreatsDisksAsTheRealOne holds the double against what the real agent was seen to do: the reason why
// attach_disk is a guard. Each disk is made with other tools, and then mounted by the agent.
func TestAgent_TreatsDisksAsTheRealOne(t *testing.T) {
	needRoot(t)
	const (
		mine   = `mke2fs -qF -t ext4 -d "$1" $1.img 800m; dd if=$1.img of=$0 bs=1M seek=1 conv=sparse,notrunc,fsync status=none` // ext4 with the file, where partition 1 begins
		filled = `parted -s $0 mklabel gpt mkpart other ext4 1MiB 100%; `
		kept   = "kept"
		gone   = "destroyed"
	)
	for name, tc := range map[string]struct {
		make            string // $0 is the device, $1 a folder with a file for it
		fs, partitioner string
		ends            string // kept, destroyed, or a part of the agent's error
		table           string // a part of the partition table afterwards; "same" as before
	}{
		"nothing":                                {"", "", "parted", gone, `name="bosh-partition-0"`},
		"ext4 on the whole disk":                 {`mke2fs -qF -t ext4 -d "$1" $0`, "", "parted", gone, `name="bosh-partition-0"`},
		"xfs on the whole disk":                  {"mkfs.xfs -qf $0", "xfs", "parted", gone, `name="bosh-partition-0"`},
		"LUKS on the whole disk":                 {`printf 'LUKS\272\276\000\001' | dd of=$0 conv=notrunc status=none`, "", "parted", gone, `name="bosh-partition-0"`},
		"one partition of another name":          {filled + mine, "", "parted", kept, "same"},
		"one partition, much smaller":            {`parted -s $0 mklabel gpt mkpart other ext4 1MiB 850MiB; ` + mine, "", "parted", kept, `size=     2095`},
		"one partition, a little smaller":        {`parted -s $0 mklabel gpt mkpart other ext4 1MiB 960MiB; ` + mine, "", "parted", kept, "same"},
		"an MBR":                                 {`parted -s $0 mklabel msdos mkpart primary ext4 1MiB 100%; ` + mine, "", "parted", kept, "same"},
		"ext4 where xfs is asked for":            {filled + mine, "xfs", "parted", kept, "same"},
		"two partitions":                         {`parted -s $0 mklabel gpt mkpart a 1MiB 100MiB mkpart b 100MiB 100%`, "", "parted", "many partitions are not supported", "same"},
		"BOSH's partition without a fs":          {`parted -s $0 mklabel gpt mkpart bosh-partition-0 1MiB 100%`, "", "parted", "No partitioning is allowed", "same"},
		"another's partition without a fs":       {`parted -s $0 mklabel gpt mkpart other 1MiB 100%`, "", "parted", "after 20 retries", "same"},
		"an old stemcell, nothing":               {"", "", "", gone, "label: gpt"},
		"an old stemcell, ext4 on the disk":      {`mke2fs -qF -t ext4 -d "$1" $0`, "", "", gone, "label: gpt"},
		"an old stemcell, one partition":         {filled + mine, "", "", kept, "label: gpt"},
		"an old stemcell, an MBR":                {`parted -s $0 mklabel msdos mkpart primary ext4 1MiB 100%; ` + mine, "", "", kept, "same"},
		"an old stemcell, two partitions":        {`parted -s $0 mklabel gpt mkpart a 1MiB 100MiB mkpart b 100MiB 100%`, "", "", "many partitions are not supported", "same"},
		"an old stemcell, a partition too small": {`parted -s $0 mklabel gpt mkpart other ext4 1MiB 850MiB; ` + mine, "", "", kept, `size=     2095`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			ctx, vm := t.Context(), s.emulator.Instances[0].ID
			disk := s.text("create_disk", 1024, map[string]any{}, vm)
			hint := s.text("attach_disk", vm, disk)
			a, err := s.newAgent(vm, tc.fs)
			s.must(err)
			a.Partitioner = tc.partitioner
			s.must(a.AddPersistentDisk(disk, hint))
			device, err := filepath.EvalSymlinks(filepath.Join(a.DeviceRoot, strings.TrimPrefix(hint, "/dev/")))
			s.must(err)
			folder := filepath.Join(s.dir, "folder")
			s.must(errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "file"), []byte("data"), 0o600)))
			shell(ctx, t, "sh", "-ec", tc.make, device, folder)
			before := ""
			if tc.table == "same" {
				before = shell(ctx, t, "sfdisk", "--dump", device)
			}

			err = a.MountDisk(ctx, disk)
			after := shell(ctx, t, "sfdisk", "--dump", device)
			if tc.table == "same" && after != before || tc.table != "same" && !strings.Contains(after, tc.table) {
				t.Errorf("want %s; before:\n%s\nafter:\n%s", tc.table, before, after)
			}
			if tc.ends != kept && tc.ends != gone {
				if err == nil || !strings.Contains(err.Error(), tc.ends) {
					t.Errorf("%v, want %q", err, tc.ends)
				}
				return
			}
			text, _ := os.ReadFile(filepath.Join(a.Store(), "file"))
			if err != nil || (tc.ends == kept) != (string(text) == "data") {
				t.Errorf("%v; the file holds %q, but it should be %s", err, text, tc.ends)
			}
			if tc.partitioner == "" && tc.ends == kept && tc.table == "label: gpt" && strings.Contains(after, `name="other"`) {
				t.Errorf("the table was not written anew:\n%s", after)
			}
			s.must(a.UnmountDisk(ctx, disk))
		})
	}
}

// TestAgent_AGrowthThatFailed is told once; the next deploy finds the partition grown, and mounts the small file system.
func TestAgent_AGrowthThatFailed(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	ctx, d := t.Context(), s.director(s.ours)
	vm := s.vm(d, 0)
	s.must(d.CreateDisk(ctx, vm, 1024, map[string]any{}))
	s.put(vm, "data")
	small := s.sees(vm)
	vm.Agent.(*agent.Agent).NoGrowth = true
	if copied, err := d.Resize(ctx, vm, 2048); copied || err == nil || !strings.Contains(err.Error(), "Failed to grow filesystem") {
		t.Errorf("copied %v, %v", copied, err)
	}
	s.must(d.Reattach(ctx, vm))
	s.holds("after the growth that failed", vm, "data")
	if s.sees(vm) != small || s.truth(vm.Disk).SizeGiB != 2 {
		t.Errorf("the store has %d bytes after %d, the disk %d GiB", s.sees(vm), small, s.truth(vm.Disk).SizeGiB)
	}
	s.must(d.Orphan(ctx, vm))
	s.must(d.SweepOrphans(ctx))
	harness.RequireEmpty(t, s.emulator)
}
