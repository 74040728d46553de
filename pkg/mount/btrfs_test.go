package mount

import (
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Kernels before 6.7 refuse a second btrfs with the same id. Only a copy that nothing is pending on gets another one.
func TestBlock_StageOfABtrfsBesideItsTwin(t *testing.T) {
	for name, tc := range map[string]struct {
		dirty, sourceLast, unknown, readOnly bool
		separated                            bool
	}{
		"a clean copy beside its source":                     {separated: true},
		"a copy taken in use beside its source":              {dirty: true},
		"what is not known to be a copy":                     {unknown: true},
		"what is not known to be a copy, taken in use":       {unknown: true, dirty: true},
		"a copy that is only read":                           {readOnly: true},
		"a copy that is only read, taken in use":             {readOnly: true, dirty: true},
		"the source beside its clean copy":                   {sourceLast: true},
		"the source, with a log, beside a copy taken in use": {sourceLast: true, dirty: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			source := n.Attach(serial, size)
			b, ctx := newBlock(n), t.Context()
			must(t, b.Stage(ctx, fresh(volume.Btrfs), n.Mkdir("source")))
			write(t, n.Path("source")+"/file", "hello")
			mounttest.Run(t, "sync", "-f", n.Path("source"))
			if tc.dirty {
				writeSynced(t, n.Path("source")+"/file", "in the log")
			}
			copied := n.AttachCopy(serial2, source, size)
			late, plan, point, want := copied, second(fresh(volume.Btrfs)), n.Mkdir("late"), "hello"
			if tc.dirty {
				want = "in the log"
			}
			if tc.unknown {
				plan.Source = ""
			}
			plan.ReadOnly = tc.readOnly
			if tc.sourceLast { // as it was when the copy was taken: its node crashed
				source.Detach()
				must(t, newBlock(n).Unstage(ctx, handle, n.Path("source")))
				first := n.AttachCopy("vol0000000000000000f", copied, size)
				must(t, b.Stage(ctx, second(fresh(volume.Btrfs)), n.Mkdir("copy")))
				late, plan = first, fresh(volume.Btrfs)
				plan.Handle, plan.Serial, plan.MayFormat = "vol-0000000000000000f", "vol0000000000000000f", false
			}
			sum := late.Sum()
			err := b.Stage(ctx, plan, point)
			if before(kernelRelease(), "6.7") && !tc.separated {
				wantKind(t, err, fault.InUse, "nothing was changed", "Linux 6.7", "it is mounted at "+n.Dir)
				if late.Sum() != sum {
					t.Error("the disk's bytes changed")
				}
				return
			}
			must(t, err)
			wantFile(t, point+"/file", want)
			must(t, b.Unstage(ctx, plan.Handle, point))
			must(t, b.Stage(ctx, plan, point))
			wantFile(t, point+"/file", want)
		})
	}
}
