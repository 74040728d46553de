package mount

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=remount-ro
36 22 259:3 / /mnt/with\040blank\134 ro,noatime - xfs /dev/nvme1n1 rw,attr2
37 22 0:45 /sub /data rw shared:2 master:1 - btrfs /dev/nvme2n1 rw,subvol=/
38 22 0:46 / /nbsp` + "\u00a0" + `name rw - tmpfs  rw
39 37 259:4 / /data rw - ext4 /dev/nvme3n1 rw
`

func TestParseTable(t *testing.T) {
	mounts, err := parseTable([]byte(sample))
	must(t, err)
	if len(mounts) != 5 {
		t.Fatalf("%d entries", len(mounts))
	}
	want := entry{id: 36, parent: 22, number: devno{259, 3}, root: "/", point: `/mnt/with blank\`, options: []string{"ro", "noatime"},
		fsType: "xfs", source: "/dev/nvme1n1", super: []string{"rw", "attr2"}}
	if diff := cmp.Diff(want, mounts[1], cmp.AllowUnexported(entry{}, devno{})); diff != "" {
		t.Error(diff)
	}
	if e, ok := mounts.at("/data"); !ok || e.fsType != "ext4" {
		t.Errorf("at /data the last mount must be seen, got %+v", e)
	}
	if e := mounts[2]; e.peers != 2 || e.master != 1 {
		t.Errorf("peer groups %d and %d", e.peers, e.master)
	}
	if !mounts[1].readOnly() || mounts[0].readOnly() {
		t.Error("read-only is told wrongly")
	}
	if _, ok := mounts.at("/mnt"); ok {
		t.Error("a parent directory is taken for a mount point")
	}
	for _, bad := range []string{"x", "1 2 3 4 5 6 - 7 8 9", "1 2 0:1 / / rw - ext4", "1 2 a:b / / rw - ext4 none rw", "a 2 0:1 / / rw - ext4 none rw", "1 a 0:1 / / rw - ext4 none rw", "1 2 0:1 / / rw shared:a - ext4 none rw"} {
		if _, err := parseTable([]byte(bad + "\n")); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestReadTable_SeesTheRoot(t *testing.T) {
	mounts, err := readTable()
	must(t, err)
	if _, ok := mounts.at("/"); !ok {
		t.Error("no root in the mount table")
	}
}

func FuzzMountInfo(f *testing.F) {
	for line := range strings.Lines(sample) {
		f.Add([]byte(line))
	}
	f.Add([]byte("1 1 0:1 / \\0 - - - - -\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		mounts, err := parseTable(content)
		if err != nil {
			return
		}
		for _, e := range mounts {
			if seen, ok := mounts.at(e.point); ok && seen.point != e.point {
				t.Errorf("at %q is %q", e.point, seen.point)
			}
		}
	})
}
