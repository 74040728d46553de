package mount

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
)

// TestFinish_NoToolBegins: it would be killed with the process.
func TestFinish_NoToolBegins(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	box, task := scripts(t, map[string]string{"e2fsck": "touch " + ran}), beginTask(t)
	if now := task.keeper.finish(); len(now) != 0 {
		t.Errorf("%q write", now)
	}
	wantKind(t, box.write(t.Context(), task, "e2fsck", "/dev/x"), fault.Unavailable, "e2fsck", "/dev/x", "retry")
	if there(ran)() {
		t.Error("it ran")
	}
}

// TestFinish_AGrowthGoesOnToItsEnd: nothing seems to write between the check and resize2fs.
func TestFinish_AGrowthGoesOnToItsEnd(t *testing.T) {
	n := mounttest.NewNode(t)
	disk := n.Attach(serial, 128*mib)
	b, checked := newBlock(n), filepath.Join(t.TempDir(), "checked")
	mounttest.Run(t, "mkfs.ext4", "-q", "-b", "4096", disk.Node)
	disk.Grow(size)
	b.tools = scripts(t, map[string]string{"e2fsck": "while [ ! -e " + checked + " ]; do sleep 0.05; done; exec " + installed(t, "e2fsck") + " \"$@\""})
	done := make(chan error, 1)
	go func() {
		done <- b.work(t.Context(), "grow", handle, func(task *task) error {
			d, err := b.sysfs.wait(t.Context(), task, serial, 0, b.deviceWait)
			if err != nil {
				return err
			}
			return b.growUnmounted(t.Context(), task, d)
		})
	}()
	eventually(t, "e2fsck", func() bool { return strings.Contains(strings.Join(b.keep.writing(), ""), "e2fsck") })
	write(t, checked, "")
	eventually(t, "the process may end", func() bool { return len(b.Finish()) == 0 })
	if out := mounttest.Run(t, "dumpe2fs", "-h", disk.Node); !strings.Contains(out, fmt.Sprintf("Block count:              %d\n", size/4096)) {
		t.Errorf("the process could end before the file system had grown: %s", out)
	}
	must(t, <-done)
}
