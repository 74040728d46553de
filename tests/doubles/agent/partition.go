package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// growBeyond is how much smaller than its disk a partition must be to be grown, in bytes.
const growBeyond = 100 << 20

type table struct {
	size  int64 // of the disk, bytes
	label string
	parts []part
}

type part struct {
	size     int64
	fs, name string
}

// known reports whether parted sees a file system that the agent keeps.
func (p part) known() bool { return p.fs == "ext4" || p.fs == "xfs" }

// Adjust does to a disk what AdjustPersistentDiskPartitioning and Format do, which destroys what has no partition table:
// parted is asked for the partitions first, whichever partitioner writes them.
func (a *Agent) Adjust(ctx context.Context, device string) error {
	t, err := a.table(ctx, device)
	if err != nil {
		return err
	}
	if len(t.parts) > 1 {
		return errors.New("Persistent disks with many partitions are not supported") //nolint:staticcheck // the agent's own words
	}
	if len(t.parts) == 1 && t.parts[0].known() && t.size-t.parts[0].size > growBeyond {
		return a.grow(ctx, device, t.parts[0].fs)
	}
	partition := a.parted
	if a.Partitioner == "" && t.size <= sfdiskUpTo {
		partition = a.sfdisk
	}
	if err := partition(ctx, device, t); err != nil {
		return err
	}
	return a.format(ctx, device)
}

// parted is the partitioner of today's stemcells. What it cannot write it tries 20 times.
func (a *Agent) parted(ctx context.Context, device string, t table) error {
	switch {
	case len(t.parts) == 1 && t.parts[0].known():
		return nil
	case len(t.parts) == 1 && strings.HasPrefix(t.parts[0].name, "bosh-partition"):
		return fmt.Errorf("'%s' contains a partition created by bosh. No partitioning is allowed", device)
	}
	const align = 1 << 20
	end := (t.size-1)/align*align - 1
	if _, err := a.run(ctx, "", "parted", "-s", device, "unit", "B", "mkpart", "bosh-partition-0", strconv.Itoa(align), strconv.FormatInt(end, 10)); err != nil {
		return fmt.Errorf("Partitioning disk '%s': after 20 retries: %w", device, err) //nolint:staticcheck // the agent's own words
	}
	return nil
}

// sfdiskUpTo is the largest disk, in bytes, that old stemcells partition with sfdisk.
const sfdiskUpTo = 2 << 40

// sfdisk is the partitioner of old stemcells: it keeps only what it has written itself on an MBR, and writes every other
// table anew.
func (a *Agent) sfdisk(ctx context.Context, device string, t table) error {
	if t.label == "msdos" && len(t.parts) == 1 && t.size-t.parts[0].size < 20<<20 {
		return nil
	}
	_, err := a.run(ctx, ",,L\n", "sfdisk", "--no-reread", "--no-tell-kernel", device)
	if err == nil {
		_, _ = a.run(ctx, "", "partx", "--update", device) // fails where the kernel does not know it yet
	}
	return err
}

// table reads the partition table with parted. Where parted knows no label, or calls a file system "loop", the agent
// writes a new one: that is what destroys it.
func (a *Agent) table(ctx context.Context, device string) (table, error) {
	out, err := a.run(ctx, "", "parted", "-s", "-m", device, "unit", "B", "print")
	t := parse(out)
	if err != nil || t.label == "loop" || t.label == "unknown" || t.label == "" {
		if _, err := a.run(ctx, "", "parted", "-s", device, "mklabel", "gpt"); err != nil {
			return t, err
		}
		out, err = a.run(ctx, "", "parted", "-s", "-m", device, "unit", "B", "print")
		t = parse(out)
	}
	return t, err
}

// parse reads parted's machine output: a line for the disk, then one for each partition.
func parse(out string) (t table) {
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSuffix(strings.TrimSpace(line), ";"), ":")
		switch {
		case strings.HasPrefix(line, "/") && len(fields) > 5:
			t.size, t.label = bytes(fields[1]), fields[5]
		case len(fields) > 5 && t.label != "":
			t.parts = append(t.parts, part{size: bytes(fields[3]), fs: fields[4], name: fields[5]})
		}
	}
	return t
}

func bytes(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(text, "B"), 10, 64) // parted's own number
	return n
}

// format makes a file system on partition 1 unless blkid finds one.
func (a *Agent) format(ctx context.Context, device string) error {
	p1, err := a.first(ctx, device)
	if err != nil {
		return err
	}
	out, _ := a.run(ctx, "", "blkid", "-p", p1) // it fails where there is nothing
	if strings.Contains(out, `TYPE="ext4"`) || strings.Contains(out, `TYPE="xfs"`) {
		return nil
	}
	if a.FS == "xfs" {
		_, err = a.run(ctx, "", "mkfs.xfs", p1)
	} else {
		_, err = a.run(ctx, "", "mke2fs", "-q", "-t", "ext4", "-j", "-E", "lazy_itable_init=1", p1)
	}
	return err
}

// grow makes partition 1 fill the disk, and then the file system, mounted at the store for a moment. If that fails, the
// partition stays both: larger, and mounted.
func (a *Agent) grow(ctx context.Context, device, fs string) error {
	if _, err := a.first(ctx, device); err != nil { // growpart wants its node
		return err
	}
	if _, err := a.run(ctx, "", "growpart", device, "1", "--update", "auto"); err != nil {
		return err
	}
	part, err := a.first(ctx, device) // made anew
	if err != nil {
		return err
	}
	if err := a.mount(ctx, part, a.Store()); err != nil {
		return err
	}
	if fs == "xfs" {
		_, err = a.run(ctx, "", "xfs_growfs", a.Store())
	} else {
		err = a.growExt4(ctx, part)
	}
	if err != nil {
		return fmt.Errorf("Failed to grow filesystem: %w", err) //nolint:staticcheck // the agent's own words
	}
	return a.unmount(ctx, a.Store())
}

// growExt4 grows a mounted ext4. Where this process lacks CAP_SYS_RESOURCE the kernel refuses that to everybody; then the
// double, other than the agent, does it unmounted.
func (a *Agent) growExt4(ctx context.Context, part string) error {
	if a.NoGrowth {
		return errors.New("resize2fs: Permission denied to resize filesystem")
	}
	_, err := a.run(ctx, "", "resize2fs", "-f", part)
	if err == nil || !strings.Contains(err.Error(), "Permission denied to resize filesystem") {
		return err
	}
	if err := a.unmount(ctx, a.Store()); err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "e2fsck", "-f", "-p", part); err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "resize2fs", "-f", part); err != nil {
		return err
	}
	return a.mount(ctx, part, a.Store())
}
