package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Adjust does to a disk what AdjustPersistentDiskPartitioning and Format do, which destroys what has no partition table.
func (a *Agent) Adjust(ctx context.Context, device string) error {
	t, err := a.table(ctx, device)
	if err != nil {
		return err
	}
	if len(t.parts) > 1 {
		return errors.New("many partitions are not supported")
	}
	if len(t.parts) == 1 {
		p := t.parts[0]
		switch known := p.fs == "ext4" || p.fs == "xfs"; {
		case known && t.size-p.size > growBeyond:
			return a.grow(ctx, device, p.fs)
		case known:
			return nil
		case strings.HasPrefix(p.name, "bosh-partition-"):
			return fmt.Errorf("'%s' contains a partition created by bosh. No partitioning is allowed", device)
		default:
			return fmt.Errorf("partitioning '%s' failed after 20 retries", device)
		}
	}
	if _, err := a.run(ctx, "", "parted", "-s", device, "unit", "B", "mkpart", "bosh-partition-0", "1048576", "100%"); err != nil {
		return err
	}
	return a.format(ctx, device)
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

// grow makes partition 1 fill the disk (growpart does it with sfdisk, too) and then the file system, mounted for a moment.
// Without CAP_SYS_RESOURCE ext4 grows only unmounted, so that it does so here.
func (a *Agent) grow(ctx context.Context, device, fs string) error {
	if _, err := a.run(ctx, ", +\n", "sfdisk", "--no-reread", "-N", "1", device); err != nil {
		return err
	}
	_, _ = a.run(ctx, "", "partx", "--update", device) // fails where the kernel does not know it yet
	p1, err := a.first(ctx, device)
	if err != nil {
		return err
	}
	if fs == "ext4" {
		if _, err := a.run(ctx, "", "e2fsck", "-f", "-p", p1); err != nil {
			return err
		}
		_, err := a.run(ctx, "", "resize2fs", "-f", p1)
		return err
	}
	point := filepath.Join(a.Dir, "grow")
	if err := os.MkdirAll(point, 0o700); err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "mount", p1, point); err != nil {
		return err
	}
	_, growErr := a.run(ctx, "", "xfs_growfs", point)
	_, err = a.run(ctx, "", "umount", point)
	return errors.Join(growErr, err)
}
