package mount

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
)

// sharedFolders are folders in which every mount shows twice.
func sharedFolders() map[string]func(*testing.T, *mounttest.Node) string {
	tmpfs := func(t *testing.T, dir string) {
		t.Helper()
		must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
		must(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
	}
	bound := func(t *testing.T, n *mounttest.Node) (data, kubelet string) {
		t.Helper()
		data, kubelet = n.Mkdir("data"), n.Mkdir("kubelet")
		tmpfs(t, data)
		must(t, os.MkdirAll(data+"/var/kubelet", 0o755))
		must(t, unix.Mount(data+"/var/kubelet", kubelet, "", unix.MS_BIND, ""))
		return data, kubelet
	}
	return map[string]func(*testing.T, *mounttest.Node) string{
		"bound from a data disk": func(t *testing.T, n *mounttest.Node) string {
			_, kubelet := bound(t, n)
			return kubelet
		},
		"a data disk that is bound elsewhere": func(t *testing.T, n *mounttest.Node) string {
			data, _ := bound(t, n)
			return data + "/var/kubelet"
		},
		"with a copy that only receives": func(t *testing.T, n *mounttest.Node) string {
			data, kubelet := bound(t, n)
			must(t, unix.Mount("", kubelet, "", unix.MS_SLAVE, ""))
			return data + "/var/kubelet"
		},
		"mounted on itself": func(t *testing.T, n *mounttest.Node) string {
			dir := n.Mkdir("self")
			tmpfs(t, dir)
			must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
			return dir
		},
	}
}

// mountsOf counts the mounts of a disk's file system.
func mountsOf(t *testing.T, b *Block) int {
	t.Helper()
	d, err := b.sysfs.find(serial)
	must(t, err)
	mounts, err := readTable()
	must(t, err)
	return len(mounts.of(d.number))
}

func TestBlock_MountsThatAppearTwiceAreOne(t *testing.T) {
	for name, make := range sharedFolders() {
		t.Run(name, func(t *testing.T) {
			eachFS(t, func(t *testing.T, fsType string) {
				n := mounttest.NewNode(t)
				n.Attach(serial, size)
				folder := make(t, n)
				b, ctx, plan, staging, target := newBlock(n), t.Context(), fresh(fsType), folder+"/staging", folder+"/target"
				plan.OneTarget = true
				must(t, os.Mkdir(staging, 0o755))
				for range 2 {
					must(t, b.Stage(ctx, plan, staging))
					must(t, b.Publish(ctx, plan, staging, target, false))
				}
				if got := mountsOf(t, b); got != 4 {
					t.Fatalf("%d mounts; the folder does not show each twice", got)
				}
				_, err := b.Expand(ctx, plan, staging, target, size)
				must(t, err)
				write(t, target+"/file", "hello")
				wantKind(t, b.Publish(ctx, plan, staging, folder+"/second", false), fault.InUse, target, "one path")
				wantKind(t, b.Unstage(ctx, handle, staging), fault.InUse, "still published", "/target")
				must(t, b.Unpublish(ctx, handle, target))
				must(t, b.Unstage(ctx, handle, staging))
				if got := mountsOf(t, b); got != 0 {
					t.Errorf("%d mounts are left", got)
				}
				must(t, b.Stage(ctx, plan, staging))
				wantFile(t, staging+"/file", "hello")
				must(t, b.Unstage(ctx, handle, staging))
			})
		})
	}
}

func TestBlock_RawTargetsThatAppearTwiceAreOne(t *testing.T) {
	for name, make := range sharedFolders() {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			n.Attach(serial, size)
			folder := make(t, n)
			b, ctx, plan := newBlock(n), t.Context(), raw()
			plan.OneTarget = true
			for range 2 {
				must(t, b.Publish(ctx, plan, "", folder+"/target", true))
			}
			wantKind(t, b.Publish(ctx, plan, "", folder+"/second", true), fault.InUse, "/target", "one path")
			must(t, b.Unpublish(ctx, handle, folder+"/target"))
			must(t, b.Publish(ctx, plan, "", folder+"/target", false))
			must(t, b.Unpublish(ctx, handle, folder+"/target"))
		})
	}
}

func TestLayers_CountsWhatLiesOnOneAnother(t *testing.T) {
	n := mounttest.NewNode(t)
	dir := sharedFolders()["mounted on itself"](t, n) + "/dir"
	must(t, os.Mkdir(dir, 0o755))
	for i := range 3 {
		layers, err := Layers(dir)
		must(t, err)
		if len(layers) != i {
			t.Errorf("%d layers after %d mounts", len(layers), i)
		}
		must(t, Scratch(dir, "layer", "4k"))
	}
}

// A bind mount of a shared mount is in its peer group, but a mount of its own.
func TestTable_One(t *testing.T) {
	mounts, err := parseTable([]byte(strings.TrimSpace(`
1 0 254:1 / / rw - ext4 /dev/root rw
10 1 254:2 / /data rw shared:1 - ext4 /dev/data rw
11 1 254:2 /kubelet /kubelet rw shared:1 - ext4 /dev/data rw
12 1 254:2 /kubelet /slave rw master:1 - ext4 /dev/data rw
13 1 254:2 /kubelet /private rw - ext4 /dev/data rw
20 11 259:1 / /kubelet/staging rw shared:2 - ext4 /dev/nvme1n1 rw
21 10 259:1 / /data/kubelet/staging rw shared:2 - ext4 /dev/nvme1n1 rw
22 12 259:1 / /slave/staging rw master:2 - ext4 /dev/nvme1n1 rw
23 13 259:1 / /private/staging rw shared:2 - ext4 /dev/nvme1n1 rw
24 11 259:1 / /kubelet/target rw shared:2 - ext4 /dev/nvme1n1 rw
25 10 259:1 / /data/staging rw shared:2 - ext4 /dev/nvme1n1 rw
26 10 259:1 /sub /data/kubelet/staging rw shared:3 - ext4 /dev/nvme1n1 rw
27 99 259:1 / /elsewhere rw shared:2 - ext4 /dev/nvme1n1 rw
`)))
	must(t, err)
	for id, want := range map[int]bool{20: true, 21: true, 22: true, 23: false, 24: false, 25: false, 26: false, 27: false, 10: false} {
		e, _ := mounts.byID(id)
		staging, _ := mounts.byID(20)
		if mounts.one(e, staging) != want || mounts.one(staging, e) != want {
			t.Errorf("mount %d at %s is one with that at %s: want %t", id, e.point, staging.point, want)
		}
	}
	var points []string
	for _, e := range mounts.apart(mounts.of(devno{259, 1}), "/kubelet/staging") {
		points = append(points, e.point)
	}
	if got := strings.Join(points, " "); got != "/private/staging /kubelet/target /data/staging /data/kubelet/staging /elsewhere" {
		t.Errorf("others: %s", got)
	}
}
