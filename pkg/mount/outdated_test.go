package mount

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// outdatedMount gives a node whose disk is staged as earlier versions did for readers: without its journal, which has "synced".
func outdatedMount(t *testing.T, fsType string) (n *mounttest.Node, plan volume.BlockPlan) {
	t.Helper()
	n = mounttest.NewNode(t)
	d := copyInUse(t, n, newBlock(n), fsType)
	options := map[string]string{volume.Ext4: "ro,noload", volume.XFS: "ro,norecovery,nouuid", volume.Btrfs: "ro,rescue=nologreplay"}[fsType]
	mounttest.Run(t, "mount", "-t", fsType, "-o", options, d.Node, n.Mkdir("staging"))
	plan = restored(fsType)
	plan.ReadOnly = true
	return n, plan
}

func TestBlock_AMountWithoutItsJournalIsMadeAgain(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		t.Run("by stage", func(t *testing.T) {
			n, plan := outdatedMount(t, fsType)
			must(t, newBlock(n).Stage(t.Context(), plan, n.Path("staging")))
			wantFile(t, n.Path("staging")+"/synced", "in the log")
			wantReadOnly(t, n.Path("staging"))
		})
		t.Run("by publish", func(t *testing.T) {
			n, plan := outdatedMount(t, fsType)
			must(t, newBlock(n).Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), true))
			wantFile(t, n.Path("target")+"/synced", "in the log")
			wantReadOnly(t, n.Path("target"))
		})
		t.Run("not while a pod has it", func(t *testing.T) {
			n, plan := outdatedMount(t, fsType)
			b, ctx, staging, target := newBlock(n), t.Context(), n.Path("staging"), n.Mkdir("target")
			must(t, unix.Mount(staging, target, "", unix.MS_BIND, ""))
			for _, path := range []string{target, n.Path("other")} {
				wantKind(t, b.Publish(ctx, plan, staging, path, true), fault.InUse, "without its journal", "published at "+target)
			}
			wantKind(t, b.Stage(ctx, plan, staging), fault.InUse, "without its journal", "published at "+target)
			if mountsAt(t, staging) != 1 || mountsAt(t, target) != 1 {
				t.Fatal("it is no longer mounted")
			}
			must(t, b.Unpublish(ctx, handle, target))
			must(t, b.Publish(ctx, plan, staging, target, true))
			wantFile(t, target+"/synced", "in the log")
		})
	})
}

// Who asked for it keeps what an earlier version mounted.
func TestBlock_AMountWithoutItsJournalAsAskedStays(t *testing.T) {
	for fsType, option := range map[string]string{volume.Ext4: "noload", volume.XFS: "norecovery"} {
		t.Run(fsType, func(t *testing.T) {
			n, plan := outdatedMount(t, fsType)
			plan.Options, plan.Clean = volume.MountOptions{"ro", option}, true
			b, staging := newBlock(n), n.Path("staging")
			must(t, b.Stage(t.Context(), plan, staging))
			must(t, b.Publish(t.Context(), plan, staging, n.Path("target"), true))
			if e := mountAt(t, staging); !unreplayedMount(e) {
				t.Errorf("it was mounted again with %q", e.super)
			}
		})
	}
}
