package devices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// partitionPoll is how long after the kernel has a partition its node appears; on a real instance devtmpfs makes it.
const partitionPoll = 50 * time.Millisecond

// watch keeps the nodes of partitions as the kernel has them, until ctx ends.
func (t *Tree) watch(ctx context.Context) {
	defer close(t.watched)
	tick := time.NewTicker(partitionPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.showPartitions()
		}
	}
}

// showPartitions makes every tree show the partitions of its volumes. What fails is tried again at the next tick: a
// partition may go while it is looked at.
func (t *Tree) showPartitions() {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := partitions()
	found := map[int]map[int]uint64{}
	for _, n := range t.loops {
		if len(all[n]) > 0 {
			found[n] = all[n]
		}
	}
	if len(found) == 0 && !t.parted {
		return
	}
	shown, err := t.shown()
	if err != nil {
		return
	}
	t.parted = len(found) > 0
	for id, trees := range shown {
		n, held := t.loops[id]
		for _, tree := range trees {
			if held && tree.partitions(id, n, found[n]) != nil {
				t.parted = true
			}
		}
	}
}

var partitionName = regexp.MustCompile(`^loop([0-9]+)p([0-9]+)$`)

// partitions returns what the kernel has: by number of loop device and of partition, the device number.
func partitions() map[int]map[int]uint64 {
	entries, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return nil
	}
	out := map[int]map[int]uint64{}
	for _, e := range entries {
		match := partitionName.FindStringSubmatch(e.Name())
		if match == nil {
			continue
		}
		var major, minor uint32
		content, err := os.ReadFile(filepath.Join("/sys/class/block", e.Name(), "dev"))
		if err != nil { // it went
			continue
		}
		loop, loopErr := strconv.Atoi(match[1])
		number, numberErr := strconv.Atoi(match[2])
		_, devErr := fmt.Sscanf(string(content), "%d:%d", &major, &minor)
		if errors.Join(loopErr, numberErr, devErr) != nil {
			continue
		}
		if out[loop] == nil {
			out[loop] = map[int]uint64{}
		}
		out[loop][number] = unix.Mkdev(major, minor)
	}
	return out
}

// partitions makes the volume's disk show exactly these partitions: in sysfs as links to the kernel's own entries, and as
// nodes, which come last and go first.
func (d nvmeTree) partitions(volumeID string, n int, parts map[int]uint64) error {
	name, shown, err := d.find(volumeID)
	disk := name + "n1"
	if err != nil || !shown {
		return err
	}
	if err := d.dropPartitions(disk, parts); err != nil {
		return err
	}
	for number, devno := range parts {
		part := disk + "p" + strconv.Itoa(number)
		err := errors.Join(
			symlink(fmt.Sprintf("/sys/block/loop%[1]d/loop%[1]dp%[2]d", n, number), d.path("sys/block", disk, part)),
			symlink("../../block/"+disk+"/"+part, d.path("sys/class/block", part)),
			blockNode(d.path("dev", part), devno))
		if err != nil {
			return err
		}
	}
	return nil
}

// dropPartitions removes the entries of the disk's partitions that are not among keep.
func (d nvmeTree) dropPartitions(disk string, keep map[int]uint64) error {
	for _, dir := range []string{"dev", "sys/class/block", "sys/block/" + disk} {
		entries, err := filepath.Glob(d.path(dir, disk+"p*"))
		if err != nil {
			return err
		}
		for _, path := range slices.DeleteFunc(entries, func(path string) bool {
			number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), disk+"p"))
			_, kept := keep[number]
			return err == nil && kept
		}) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
