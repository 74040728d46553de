package mount

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// prepare makes sure that the disk, or its only partition where the plan's layout has one, carries the plan's file
// system, undamaged, and returns which of the two. It formats only what the plan allows and what is proven empty.
func (b *Block) prepare(ctx context.Context, t *task, disk device, plan volume.BlockPlan) (device, error) {
	if !plan.Clean { // mounting it may write
		if err := b.exclusive(ctx, t, disk); err != nil { // its partitions count
			return device{}, err
		}
	}
	if !plan.ReadOnly { // readers that are gone may have left the flag
		if err := t.run(ctx, "guard", disk.node, func() error { return guard(disk, false, "") }); err != nil {
			return device{}, err
		}
	}
	found, err := b.probe(ctx, t, disk)
	if err != nil {
		return device{}, err
	}
	bosh := plan.Layout == volume.LayoutBosh
	if plan.Layout == volume.LayoutUnknown {
		plan.MayFormat = false
	}
	switch {
	case found == content{} && bosh && plan.MayFormat && !plan.ReadOnly:
		if err := b.makePartition(ctx, t, disk); err != nil {
			return device{}, err
		}
	case found == (content{partition: "gpt"}) && (bosh || plan.Layout == volume.LayoutUnknown):
	case found.partition != "" && found.partition != "gpt":
		return device{}, otherTable(disk, "it carries "+found.String())
	case found != content{} && bosh:
		return device{}, fault.New(fault.InUse, "check disk", disk.node,
			"it carries %s, but layout bosh (one GPT partition) is requested; nothing was touched. Mount it without the layout, or wipe it yourself if its data is not needed", found)
	default:
		return disk, b.fileSystem(ctx, t, disk, plan, found)
	}
	d, unnamed, err := b.openPartition(ctx, t, disk)
	if err != nil {
		return device{}, err
	}
	if found, err = b.probe(ctx, t, d); err != nil {
		return device{}, err
	}
	plan.MayFormat = plan.MayFormat && !unnamed
	return d, b.fileSystem(ctx, t, d, plan, found)
}

// fileSystem makes sure that what was found on the device is what the plan wants.
func (b *Block) fileSystem(ctx context.Context, t *task, d device, plan volume.BlockPlan, found content) error {
	switch {
	case found == (content{fsType: plan.FSType}):
		if plan.FSType == volume.Ext4 && !plan.ReadOnly {
			if err := b.replayFirst(ctx, t, d); err != nil {
				return err
			}
			return b.repair(ctx, t, d, "-p")
		}
		return nil
	case found == content{partition: "gpt"}:
		if _, err := b.partitionOf(ctx, t, d); err != nil {
			return err
		}
		return fault.New(fault.InUse, "check disk", d.node,
			"it carries a partition table, but %s on the whole disk is requested; nothing was touched. If BOSH made it, use it through a hand-written PersistentVolume with the volume attribute %s=%s", plan.FSType, volume.ContextLayout, volume.LayoutBosh)
	case found != content{}:
		return fault.New(fault.InUse, "check disk", d.node,
			"it carries %s, but %s is requested; nothing was touched. Use the volume as what it is, or wipe it yourself if its data is not needed", found, plan.FSType)
	case !plan.MayFormat || plan.ReadOnly:
		return fault.New(fault.InUse, "check disk", d.node,
			"it is empty, and only a volume that was made empty for its claim is formatted, by a writer. Make the %s file system yourself if you mean it", plan.FSType)
	}
	return b.format(ctx, t, d, plan)
}

// format makes the file system. No tool is told to overwrite: each refuses by itself what it recognises.
func (b *Block) format(ctx context.Context, t *task, d device, plan volume.BlockPlan) error {
	if page := int64(os.Getpagesize()); plan.Format.BlockBytes > page {
		return fault.New(fault.Invalid, "format", d.node, "blocks of %d bytes cannot be mounted where memory pages have %d; choose a blockSize of at most %d",
			plan.Format.BlockBytes, page, page)
	}
	var args []string
	switch plan.FSType {
	case volume.Ext4:
		tools, err := b.tools.version(ctx, t, "e2fsck") // of the same package, and says it in the same words
		if err != nil {
			return fault.Wrap("format", d.node, err)
		}
		args = ext4Args(plan.Format, strings.TrimPrefix(tools, "e2fsck "))
	case volume.XFS:
		tools, err := b.tools.read(ctx, t, "mkfs.xfs", "-V")
		if err != nil {
			return fault.Wrap("format", d.node, err)
		}
		args = append(xfsArgs(plan.Format), xfsFeatures(kernelRelease(), strings.TrimPrefix(tools, "mkfs.xfs version "))...)
	case volume.Btrfs:
		args = []string{"-q"}
	}
	if err := b.offline(ctx, t, d, "mkfs."+plan.FSType, args...); err != nil {
		return fault.Wrap("format", d.node, err)
	}
	found, err := b.probe(ctx, t, d)
	if err == nil && found != (content{fsType: plan.FSType}) {
		err = fault.New(fault.Internal, "format", d.node, "mkfs.%s succeeded, but the disk carries %s", plan.FSType, found)
	}
	return err
}

// ext4Args are what mke2fs(8) of a version is told.
func ext4Args(f volume.Format, tools string) []string {
	args := []string{"-q", "-m0"} // no blocks kept for root
	for _, o := range []struct {
		flag  string
		value int64
	}{{"-b", f.BlockBytes}, {"-I", f.InodeBytes}, {"-i", f.BytesPerInode}, {"-N", f.Inodes}, {"-C", f.ClusterBytes}} {
		if o.value > 0 {
			args = append(args, o.flag, strconv.FormatInt(o.value, 10))
		}
	}
	var features []string // in one argument: of several -O the last one wins
	if !before(tools, "1.47") {
		// The default of some, as Debian 13. Earlier e2fsck, as of Amazon Linux 2023 and Ubuntu 22.04, refuse such a file system,
		// and 1.47.0 checks it whole after every unclean stop; kernels before 5.15 do not mount it for writing after one.
		features = append(features, "^orphan_file")
	}
	if f.BigAlloc {
		features = append(features, "bigalloc")
	}
	if f.Encryption {
		features = append(features, "encrypt")
	}
	if len(features) > 0 {
		args = append(args, "-O", strings.Join(features, ","))
	}
	return args
}

// xfsArgs are what mkfs.xfs(8) is told.
func xfsArgs(f volume.Format) []string {
	args := []string{"-q"}
	if f.BlockBytes > 0 {
		args = append(args, "-b", fmt.Sprintf("size=%d", f.BlockBytes))
	}
	if f.InodeBytes > 0 {
		args = append(args, "-i", fmt.Sprintf("size=%d", f.InodeBytes))
	}
	return args
}

// xfsFeatures leaves out what the running kernel cannot read: mkfs.xfs is often newer than the kernel, and its defaults
// then make file systems that cannot be mounted. The versions are those of mkfs.xfs's own feature profiles,
// https://git.kernel.org/pub/scm/fs/xfs/xfsprogs-dev.git/tree/mkfs
func xfsFeatures(kernel, tools string) []string {
	var out []string
	for _, f := range []struct {
		since string // of the kernel; the tools know the feature from the same version on
		flags []string
	}{
		{"5.10", []string{"-m", "bigtime=0,inobtcount=0"}},
		{"5.19", []string{"-i", "nrext64=0"}},
		{"6.10", []string{"-i", "exchange=0", "-n", "parent=0"}},
	} {
		if before(kernel, f.since) && !before(tools, f.since) {
			out = append(out, f.flags...)
		}
	}
	return out
}

// before compares the first two numbers of two versions.
func before(a, b string) bool {
	var aMajor, aMinor, bMajor, bMinor int
	_, _ = fmt.Sscanf(a, "%d.%d", &aMajor, &aMinor)
	_, _ = fmt.Sscanf(b, "%d.%d", &bMajor, &bMinor)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// repair runs e2fsck and judges its exit code, see e2fsck(8): 1 and 2 mean repaired, 4 and more not.
// xfs and btrfs repair themselves when mounted.
func (b *Block) repair(ctx context.Context, t *task, d device, args ...string) error {
	err := b.offline(ctx, t, d, "e2fsck", args...)
	switch code := exitCode(err); {
	case code >= 0 && code < 4:
		return nil
	case code >= 4 && code < 8:
		return &fault.Error{Op: "check file system", Subject: d.node, Kind: fault.InUse,
			Message: "it is damaged and was not mounted; take a snapshot, then repair it by hand with e2fsck -f " + d.node, Err: err}
	default:
		return fault.Wrap("check file system", d.node, err)
	}
}
