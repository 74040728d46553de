package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// The layout that BOSH's agent makes and keeps, and the only one with a partition that is mounted here: a GPT with
// nothing but one partition, from the first MiB to the disk's end.
const (
	partitionName  = "bosh-partition-0"
	partitionType  = "0FC63DAF-8483-4772-8E79-3D69D8477DE4" // Linux filesystem data
	partitionStart = 1 << 20
	// partitionSlack is how many bytes a partition may end before its disk: the GPT's copy and an incomplete MiB.
	partitionSlack = 2 << 20
)

// span is where a partition lies, in bytes.
type span struct {
	start, size int64
	unnamed     bool // as BOSH's agents made it that used sfdisk; it is never formatted
}

// gpt is what sfdisk --json prints of a partition table, see sfdisk(8).
type gpt struct {
	Label      string `json:"label"`
	SectorSize int64  `json:"sectorsize"`
	Partitions []struct {
		Node  string `json:"node"`
		Start int64  `json:"start"` // sectors
		Size  int64  `json:"size"`  // sectors
		Name  string `json:"name"`
		Type  string `json:"type"`
	} `json:"partitions"`
}

// canonical returns where the partition lies, or says how the table differs from the layout.
func (g gpt) canonical() (s span, why string) {
	switch {
	case g.Label != "gpt":
		return s, fmt.Sprintf("its partition table is %q", g.Label)
	case g.SectorSize <= 0:
		return s, "sfdisk does not tell the size of its sectors (util-linux 2.38 does)"
	case len(g.Partitions) != 1:
		return s, fmt.Sprintf("it has %d partitions", len(g.Partitions))
	}
	p := g.Partitions[0]
	s = span{start: p.Start * g.SectorSize, size: p.Size * g.SectorSize, unnamed: p.Name == ""}
	switch {
	case s.unnamed && !strings.EqualFold(p.Type, partitionType):
		return s, fmt.Sprintf("its partition has no name and the type %s", p.Type)
	case !s.unnamed && p.Name != partitionName:
		return s, fmt.Sprintf("its partition is named %q", p.Name)
	case !strings.HasSuffix(p.Node, "p1"):
		return s, fmt.Sprintf("its partition is not the first (%s)", filepath.Base(p.Node))
	case s.start != partitionStart || s.size <= 0:
		return s, fmt.Sprintf("its partition has %d bytes from byte %d on", s.size, s.start)
	}
	return s, ""
}

// partitionOf reads the disk's partition table and refuses any but the layout's own.
func (b *Block) partitionOf(ctx context.Context, t *task, disk device) (span, error) {
	out, err := b.tools.read(ctx, t, "sfdisk", "--json", disk.node)
	if err != nil {
		return span{}, fault.Wrap("read partition table", disk.node, err)
	}
	var table struct {
		GPT gpt `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		return span{}, fault.Wrap("read partition table", disk.node, err)
	}
	s, why := table.GPT.canonical()
	if why != "" {
		return span{}, otherTable(disk, why)
	}
	return s, nil
}

// otherTable refuses a partition table that is not mounted whatever the layout is said to be: then no answer may lead from
// one layout to the other.
func otherTable(disk device, why string) error {
	return fault.New(fault.InUse, "check partition table", disk.node,
		"%s; only a GPT with one Linux partition, named %s (or not named) and beginning at 1 MiB, as BOSH makes it, is mounted, and %s does not change that; nothing was touched. "+
			"If an old BOSH agent made the disk, let BOSH copy it to a new one (another size or type in the deployment, without resizing in place). Otherwise use the volume as a raw device, or copy its data to a new volume",
		why, partitionName, volume.ContextLayout)
}

// wholeDisk is where the partition lies that fills the disk.
func wholeDisk(diskBytes int64) span {
	const mib = 1 << 20
	return span{start: partitionStart, size: (diskBytes-mib)/mib*mib - partitionStart} // the last MiB has the GPT's copy
}

// makePartition writes the layout's partition table. The caller has proven that the disk is empty and the plan's.
// sfdisk is told to erase nothing; the kernel hears of the partition in openPartition.
func (b *Block) makePartition(ctx context.Context, t *task, disk device) error {
	size, err := b.bytes(ctx, t, disk)
	if err != nil {
		return err
	}
	script := fmt.Sprintf("label: gpt\nstart=1MiB, size=%dMiB, type=%s, name=%q\n", wholeDisk(size).size>>20, partitionType, partitionName)
	return b.sfdisk(ctx, t, disk, script)
}

func (b *Block) sfdisk(ctx context.Context, t *task, disk device, script string, args ...string) error {
	if err := b.sysfs.verify(disk); err != nil {
		return err
	}
	args = append([]string{"--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never"}, args...)
	return fault.Wrap("write partition table", disk.node, b.tools.feed(ctx, t, script, "sfdisk", append(args, disk.node)...))
}

// openPartition returns the disk's only partition once the kernel shows it as the table has it. unnamed says that it may
// not be formatted.
func (b *Block) openPartition(ctx context.Context, t *task, disk device) (d device, unnamed bool, err error) {
	want, err := b.partitionOf(ctx, t, disk)
	if err != nil {
		return device{}, false, err
	}
	again := func(err error) bool { return fault.Is(err, fault.Unavailable) }
	err = poll(ctx, b.deviceWait, again, func(ctx context.Context) error {
		return t.run(ctx, "open partition", disk.node, func() (err error) {
			d, err = b.sysfs.partition(disk, want)
			return err
		})
	})
	if err != nil {
		return device{}, false, err
	}
	return d, want.unnamed, nil
}

// partition returns the kernel's view of the first partition, which it is told about where it does not know it yet.
func (s sysfs) partition(disk device, want span) (device, error) {
	if err := s.verify(disk); err != nil {
		return device{}, err
	}
	now, err := s.read(disk.name)
	if err != nil {
		return device{}, err
	}
	if now.first == (devno{}) {
		if err := tellKernel(disk, unix.BLKPG_ADD_PARTITION, want); err != nil && !isErrno(err, unix.EBUSY, unix.EEXIST) {
			return device{}, err
		}
		return device{}, fault.New(fault.Unavailable, "open partition", disk.node, "the kernel does not show its partition yet")
	}
	d := s.at(now, now.first)
	if err := s.verify(d); err != nil {
		return device{}, err
	}
	has, err := s.span(d)
	switch {
	case err != nil:
		return device{}, err
	case has.start != want.start || has.size > want.size:
		return device{}, fault.New(fault.InUse, "open partition", d.node,
			"the kernel has %d bytes from byte %d on, the partition table %d from %d; detach the volume and attach it again", has.size, has.start, want.size, want.start)
	case has.size < want.size: // it grew, and the kernel was not told
		return d, tellKernel(disk, unix.BLKPG_RESIZE_PARTITION, want)
	}
	return d, nil
}

// span reads where the kernel has a partition; sysfs counts in 512 bytes, whatever the disk's sectors are.
func (s sysfs) span(d device) (out span, err error) {
	for name, to := range map[string]*int64{"start": &out.start, "size": &out.size} {
		text, err := os.ReadFile(filepath.Join(s.sysfsRoot, "class/block", d.disk, d.name, name))
		if err != nil {
			return span{}, err
		}
		if *to, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return span{}, err
		}
		*to *= 512
	}
	return out, nil
}

// tellKernel changes the kernel's view of the first partition, see ioctl BLKPG in linux/blkpg.h. It works while the
// partition is mounted, and writes nothing.
func tellKernel(disk device, op int32, s span) error {
	f, err := disk.open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	p := unix.BlkpgPartition{Start: s.start, Length: s.size, Pno: 1}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	return kernelError("tell the kernel about the partition", disk.node, ioctl(f, unix.BLKPG, unsafe.Pointer(&arg)))
}

// growPartition moves the end of a mounted partition to the end of its disk, first in the table and then in the kernel.
// A crash in between is made good by the next call, or by the next stage.
func (b *Block) growPartition(ctx context.Context, t *task, d device) error {
	disk, err := b.sysfs.read(d.disk)
	if err != nil {
		return fault.Wrap("grow partition", d.node, err)
	}
	if err := b.sysfs.verify(d); err != nil {
		return err
	}
	size, err := b.bytes(ctx, t, disk)
	if err != nil {
		return err
	}
	has, err := b.partitionOf(ctx, t, disk)
	if err != nil {
		return err
	}
	if size-has.start-has.size > partitionSlack {
		script := fmt.Sprintf(",%dMiB\n", wholeDisk(size).size>>20)
		if err := b.sfdisk(ctx, t, disk, script, "-N", "1"); err != nil {
			return err
		}
	}
	opened, _, err := b.openPartition(ctx, t, disk)
	if err != nil {
		return err
	}
	if opened.number != d.number {
		return fault.New(fault.Internal, "grow partition", d.node, "it is now %s and no longer %s", opened.number, d.number)
	}
	now, err := b.bytes(ctx, t, d)
	if err == nil && size-partitionStart-now > partitionSlack {
		err = errors.New("sfdisk and the kernel reported success, but the partition has not grown")
	}
	return fault.Wrap("grow partition", d.node, err)
}
