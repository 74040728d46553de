package mount

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// copyInUse attaches a copy, with serial number serial and twice as large, of a file system that is mounted and whose file
// "synced" only its journal has.
func copyInUse(t *testing.T, n *mounttest.Node, b *Block, fsType string) *mounttest.Disk {
	t.Helper()
	source, writer := n.Attach(serial2, size), second(fresh(fsType))
	writer.MayFormat = true
	must(t, b.Stage(t.Context(), writer, n.Mkdir("source")))
	write(t, n.Path("source")+"/file", "hello")
	mounttest.Run(t, "sync", "-f", n.Path("source"))
	writeSynced(t, n.Path("source")+"/synced", "in the log")
	d := n.AttachCopy(serial, source, 2*size)
	must(t, b.Unstage(t.Context(), handle2, n.Path("source")))
	return d
}

func writeSynced(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteString(content)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

// restored is the plan of what copyInUse attaches.
func restored(fsType string) volume.BlockPlan {
	p := fresh(fsType)
	p.MayFormat, p.Source = false, handle2
	return p
}

func wantReadOnly(t *testing.T, staging string) {
	t.Helper()
	if err := os.WriteFile(staging+"/new", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to it gives %v", err)
	}
}

// flagged reports the kernel's read-only flag on the disk.
func flagged(t *testing.T, d *mounttest.Disk) bool {
	t.Helper()
	f, err := os.Open(d.Node)
	must(t, err)
	defer func() { _ = f.Close() }()
	is, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	must(t, err)
	return is != 0
}

// Without its journal an xfs looked empty, and ext4 and btrfs lacked what was fsynced last.
func TestBlock_StageReadOnlyShowsWhatTheJournalHas(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		b, staging := newBlock(n), n.Mkdir("staging")
		copyInUse(t, n, b, fsType)
		reader := restored(fsType)
		reader.ReadOnly = true
		must(t, b.Stage(t.Context(), reader, staging))
		must(t, b.Stage(t.Context(), reader, staging))
		wantFile(t, staging+"/file", "hello")
		wantFile(t, staging+"/synced", "in the log")
		wantReadOnly(t, staging)
		if got := total(t, staging); got > size {
			t.Errorf("a volume that is only read was grown to %d bytes", got)
		}
		must(t, b.Unstage(t.Context(), handle, staging))
	})
}

func TestBlock_StageForSeveralNodesNeedsACleanFileSystem(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		b, staging, ctx := newBlock(n), n.Mkdir("staging"), t.Context()
		d := copyInUse(t, n, b, fsType)
		reader := restored(fsType)
		reader.ReadOnly, reader.Clean = true, true

		before := d.Sum()
		wantKind(t, b.Stage(ctx, reader, staging), fault.InUse, "Mount it once for writing")
		if mountsAt(t, staging) != 0 || d.Sum() != before || flagged(t, d) {
			t.Errorf("mounts: %d; bytes changed: %t; the disk is read-only: %t", mountsAt(t, staging), d.Sum() != before, flagged(t, d))
		}
		must(t, b.Stage(ctx, restored(fsType), staging)) // what the message tells to do
		wantFile(t, staging+"/synced", "in the log")
		must(t, b.Unstage(ctx, handle, staging))

		before = d.Sum()
		must(t, b.Stage(ctx, reader, staging))
		first := mountAt(t, staging)
		must(t, newBlock(n).Stage(ctx, reader, staging))
		if now := mountAt(t, staging); now.id != first.id {
			t.Errorf("it was mounted again, which showed %q", first.super)
		}
		wantFile(t, staging+"/file", "hello")
		wantFile(t, staging+"/synced", "in the log")
		wantReadOnly(t, staging)
		if !flagged(t, d) {
			t.Error("the disk itself can be written")
		}
		must(t, newBlock(n).Unstage(ctx, handle, staging))
		if d.Sum() != before {
			t.Error("a reader changed the disk")
		}
		if flagged(t, d) {
			t.Error("the disk is still read-only without a reader")
		}
		must(t, b.Stage(ctx, restored(fsType), staging))
		write(t, staging+"/file", "changed")
		must(t, b.Unstage(ctx, handle, staging))
	})
}

// A plugin that was killed between unmounting and clearing the flag leaves it.
func TestBlock_StageForWritingClearsAReadersFlag(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	b, staging := newBlock(n), n.Mkdir("staging")
	disk, err := b.sysfs.find(serial)
	must(t, err)
	must(t, guard(disk, true, ""))
	must(t, b.Stage(t.Context(), fresh(volume.Ext4), staging))
	write(t, staging+"/file", "hello")
	if flagged(t, d) {
		t.Error("the disk is still read-only")
	}
}

// An ext4 without a journal has nothing to replay, but it may be inconsistent.
func TestBlock_StageForSeveralNodesOfAnExt4WithoutJournal(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	mounttest.Run(t, "mkfs.ext4", "-q", "-O", "^has_journal", d.Node)
	b, staging, reader := newBlock(n), n.Mkdir("staging"), restored(volume.Ext4)
	reader.ReadOnly, reader.Clean = true, true
	must(t, b.Stage(t.Context(), reader, staging))
	must(t, b.Unstage(t.Context(), handle, staging))
	mounttest.Run(t, "debugfs", "-w", "-R", "ssv state 0", d.Node)
	wantKind(t, b.Stage(t.Context(), reader, staging), fault.InUse, "not unmounted cleanly")
}
