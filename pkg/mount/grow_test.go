package mount

import (
	"context"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestBlock_Expand(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, ctx, plan, staging, target := newBlock(n), t.Context(), fresh(fsType), n.Mkdir("staging"), n.Path("target")
		must(t, b.Stage(ctx, plan, staging))
		must(t, b.Publish(ctx, plan, staging, target, true)) // the kernel grows nothing through a read-only mount
		write(t, staging+"/file", "hello")
		_, err := b.Expand(ctx, plan, "", target, size)
		wantKind(t, err, fault.InUse, "read-only")
		bytes, err := b.Expand(ctx, plan, staging, target, size)
		if err != nil || bytes != size {
			t.Fatalf("a file system of the right size: %d, %v", bytes, err)
		}
		before, err := b.Stats(ctx, handle, staging)
		must(t, err)
		d.Grow(2 * size)
		bytes, err = b.Expand(ctx, plan, staging, target, 2*size)
		after, statErr := b.Stats(ctx, handle, staging)
		must(t, statErr)
		if fsType == volume.Ext4 && !mayGrowExt4() {
			wantKind(t, err, fault.Denied, "CAP_SYS_RESOURCE", "stage it again")
			if after.TotalBytes != before.TotalBytes {
				t.Errorf("an error, but it grew from %d to %d bytes", before.TotalBytes, after.TotalBytes)
			}
			must(t, b.Stage(ctx, plan, staging)) // in use: stays mounted
			must(t, b.Unpublish(ctx, handle, target))
			must(t, b.Unstage(ctx, handle, staging))
			must(t, b.Stage(ctx, plan, staging)) // what the message tells to do
			after, err = b.Stats(ctx, handle, staging)
			bytes = 2 * size
		}
		if err != nil || bytes != 2*size || after.TotalBytes < before.TotalBytes+size*9/10 {
			t.Errorf("Expand = %d, %v; the file system went from %d to %d bytes", bytes, err, before.TotalBytes, after.TotalBytes)
		}
		wantFile(t, staging+"/file", "hello")
	})
}

func TestBlock_ExpandRaw(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	b, ctx := newBlock(n), t.Context()
	must(t, b.Publish(ctx, raw(), "", n.Path("device"), false))
	d.Grow(2 * size)
	bytes, err := b.Expand(ctx, raw(), "", n.Path("device"), 2*size)
	if err != nil || bytes != 2*size {
		t.Errorf("Expand = %d, %v", bytes, err)
	}
	bytes, err = b.Expand(ctx, fresh(volume.Ext4), "", n.Path("device"), 0) // a caller that does not know how it is used
	if err != nil || bytes != 2*size {
		t.Errorf("Expand without knowing that it is raw = %d, %v", bytes, err)
	}
	_, err = b.Expand(ctx, raw(), "", n.Mkdir("empty"), 0)
	wantKind(t, err, fault.NotFound)
}

func TestBlock_ExpandOfWhatCannotGrow(t *testing.T) {
	n, b, staging := stagedNode(t)
	ctx, plan := t.Context(), fresh(volume.Ext4)
	t.Run("a size that the node does not see yet", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		_, err := b.Expand(ctx, plan, "", staging, 2*size)
		wantKind(t, err, fault.Unavailable, "not visible on this node yet")
	})
	t.Run("a path without the volume", func(t *testing.T) {
		_, err := b.Expand(ctx, plan, "", n.Mkdir("empty"), 0)
		wantKind(t, err, fault.NotFound)
	})
	t.Run("a volume that is only read", func(t *testing.T) {
		must(t, b.Unstage(ctx, handle, staging))
		reader := plan
		reader.ReadOnly = true
		must(t, b.Stage(ctx, reader, staging))
		_, err := b.Expand(ctx, reader, "", staging, 0)
		wantKind(t, err, fault.InUse, "read-only")
	})
}

func TestBlock_StageGrowsWhatWasRestoredIntoALargerDisk(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		source := n.Attach(serial, size)
		b, ctx := newBlock(n), t.Context()
		must(t, b.Stage(ctx, fresh(fsType), n.Mkdir("source")))
		write(t, n.Path("source")+"/file", "hello")
		must(t, b.Unstage(ctx, handle, n.Path("source")))
		n.AttachCopy(serial2, source, 2*size)
		must(t, b.Stage(ctx, second(fresh(fsType)), n.Mkdir("copy")))
		s, err := b.Stats(ctx, handle2, n.Path("copy"))
		if err != nil || s.TotalBytes < size*18/10 {
			t.Errorf("Stats = %+v, %v; want nearly %d bytes", s, err, 2*size)
		}
		wantFile(t, n.Path("copy")+"/file", "hello")
	})
}

// A group of blocks is then larger than the growth.
func TestBlock_StageGrowsExt4WithClusters(t *testing.T) {
	n := mounttest.NewNode(t)
	source := n.Attach(serial, size)
	b, ctx, plan := newBlock(n), t.Context(), fresh(volume.Ext4)
	plan.Format = volume.Format{BigAlloc: true, ClusterBytes: 64 << 10}
	must(t, b.Stage(ctx, plan, n.Mkdir("source")))
	must(t, b.Unstage(ctx, handle, n.Path("source")))
	n.AttachCopy(serial2, source, 2*size)
	must(t, b.Stage(ctx, second(plan), n.Mkdir("copy")))
	if !mayGrowExt4() { // resize2fs would need force
		_, err := b.Expand(ctx, second(plan), "", n.Path("copy"), 2*size)
		wantKind(t, err, fault.Denied, "CAP_SYS_RESOURCE")
		return
	}
	s, err := b.Stats(ctx, handle2, n.Path("copy"))
	if err != nil || s.TotalBytes < size*18/10 {
		t.Errorf("Stats = %+v, %v; want nearly %d bytes", s, err, 2*size)
	}
}

func TestProveGrown(t *testing.T) {
	before := extent{bytes: 1 << 30, slack: 128 << 20}
	for bytes, grown := range map[int64]bool{1 << 30: false, 2<<30 - 128<<20: false, 2<<30 - 4096: true, 2 << 30: true} {
		err := proveGrown(device{}, volume.Ext4, before, extent{bytes: bytes, slack: before.slack}, 2<<30)
		if (err == nil) != grown {
			t.Errorf("a file system of %d bytes on a disk of 2 GiB: %v", bytes, err)
		}
	}
}
