package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// stopped is a copy of an ext4 with the feature orphan_file as an unclean stop leaves it, with an open file that was deleted.
func stopped(t *testing.T, n *mounttest.Node) *mounttest.Disk {
	t.Helper()
	disk := n.Attach(serial, size)
	mounttest.Run(t, "mkfs.ext4", "-q", "-O", "orphan_file", disk.Node)
	b, staging := newBlock(n), n.Mkdir("first")
	must(t, b.Stage(t.Context(), fresh(volume.Ext4), staging))
	write(t, filepath.Join(staging, "kept"), "text")
	open, err := os.Create(filepath.Join(staging, "deleted"))
	must(t, err)
	dir, err := os.Open(staging)
	must(t, err)
	must(t, errors.Join(os.Remove(open.Name()), unix.Syncfs(int(dir.Fd())), dir.Close()))
	crashed := n.AttachCopy(serial2, disk, size)
	must(t, errors.Join(open.Close(), b.Unstage(t.Context(), handle, staging)))
	return crashed
}

// checks is a toolbox that notes what e2fsck says, below a first line if its version is another than it would be.
func checks(t *testing.T, version string) (toolbox, string) {
	t.Helper()
	said := filepath.Join(t.TempDir(), "said")
	e2fsck := installed(t, "e2fsck")
	show := "exec " + e2fsck + " -V"
	if version != "" {
		show = "echo '" + version + "' >&2; exit 0"
	}
	return scripts(t, map[string]string{"e2fsck": "[ \"$1\" = -V ] && { " + show + "; }; " + e2fsck + " \"$@\" >>" + said + "; exit $?"}), said
}

// TestBlock_Stage_ChecksNoWholeDiskForAnOrphanFile: e2fsck 1.47.0 does after every unclean stop, minutes or hours.
func TestBlock_Stage_ChecksNoWholeDiskForAnOrphanFile(t *testing.T) {
	n := mounttest.NewNode(t)
	stopped(t, n)
	b, staging := newBlock(n), n.Mkdir("second")
	tools, said := checks(t, "")
	b.tools = tools
	must(t, b.Stage(t.Context(), second(fresh(volume.Ext4)), staging))
	text, err := os.ReadFile(said)
	if err != nil || strings.Contains(string(text), "forced") || !strings.Contains(string(text), "clean") {
		t.Errorf("e2fsck said %q (%v)", text, err)
	}
	if kept, err := os.ReadFile(filepath.Join(staging, "kept")); err != nil || string(kept) != "text" {
		t.Errorf("%q, %v", kept, err)
	}
}

// TestBlock_Stage_MakesNoOrphanFile, whatever mkfs does by default: nodes with an older e2fsck or kernel get the volume too.
func TestBlock_Stage_MakesNoOrphanFile(t *testing.T) {
	for tools, want := range map[string]bool{"1.46.5 (30-Dec-2021)": false, "1.47.0 (5-Feb-2023)": true, "1.47.2 (1-Jan-2025)": true, "2.0": true} {
		if args := strings.Join(ext4Args(volume.Format{BigAlloc: true}, tools), " "); strings.Contains(args, "-O ^orphan_file,bigalloc") != want {
			t.Errorf("mke2fs %s is told %s", tools, args)
		}
	}
	n := mounttest.NewNode(t)
	disk := n.Attach(serial, size)
	must(t, newBlock(n).Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("staging")))
	if out := mounttest.Run(t, "dumpe2fs", "-h", disk.Node); strings.Contains(out, "orphan_file") || !strings.Contains(out, "metadata_csum") {
		t.Errorf("made: %s", out)
	}
}

// TestBlock_Stage_LeavesReplayToAnotherE2fsck: only the one version is worked around.
func TestBlock_Stage_LeavesReplayToAnotherE2fsck(t *testing.T) {
	n := mounttest.NewNode(t)
	stopped(t, n)
	b := newBlock(n)
	tools, said := checks(t, "e2fsck 1.47.2 (1-Jan-2025)")
	b.tools = tools
	must(t, b.Stage(t.Context(), second(fresh(volume.Ext4)), n.Mkdir("second")))
	if text, err := os.ReadFile(said); err != nil || !strings.Contains(string(text), "recovering journal") {
		t.Errorf("e2fsck said %q (%v)", text, err)
	}
}

// TestBlock_Stage_ChecksAnOrphanFileSystemThatIsMarkedAsDamaged in spite of the way around, and where the kernel does not mount it.
func TestBlock_Stage_ChecksAnOrphanFileSystemThatIsMarkedAsDamaged(t *testing.T) {
	n := mounttest.NewNode(t)
	disk := stopped(t, n)
	mounttest.Run(t, "debugfs", "-w", "-R", "ssv state 3", disk.Node)
	b := newBlock(n)
	tools, said := checks(t, "")
	b.tools = tools
	must(t, b.Stage(t.Context(), second(fresh(volume.Ext4)), n.Mkdir("second")))
	if text, err := os.ReadFile(said); err != nil || strings.Contains(string(text), ": clean,") {
		t.Errorf("e2fsck said %q (%v)", text, err)
	}
}
