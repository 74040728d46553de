package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// earlier is a node whose volumes a release without labels mounted: a root with two targets and a subPath, a directory, a volume
// with TLS, and one that was staged again since while its target stayed. A root of another file system was mounted by hand.
const earlier = `20 1 8:1 / / rw - ext4 /dev/sda1 rw
30 20 0:50 / /k/root rw - nfs4 10.0.0.5:/ rw,addr=10.0.0.5
31 20 0:50 / /p/root rw - nfs4 10.0.0.5:/ rw,addr=10.0.0.5
32 20 0:50 / /p/second rw - nfs4 10.0.0.5:/ rw,addr=10.0.0.5
33 20 0:50 /part /p/subpath rw - nfs4 10.0.0.5:/part rw,addr=10.0.0.5
40 20 0:51 / /k/dir rw - nfs4 fs-0123456789abcdef0.efs.us-east-1.amazonaws.com:/base/pvc-1 rw,addr=10.0.0.5
41 20 0:52 / /k/alone rw - nfs4 10.0.0.5:/alone rw,addr=10.0.0.5
50 20 0:53 / /k/tls rw - nfs4 127.0.0.1:/ rw,port=21050,addr=127.0.0.1
60 20 0:40 / /k/again rw - tmpfs diskbridge-staged:fs-0123456789abcdef0:/again ro
61 60 0:54 / /k/again rw - nfs4 10.0.0.5:/again rw,addr=10.0.0.5
62 20 0:54 / /p/again rw - nfs4 10.0.0.5:/again rw,addr=10.0.0.5
63 20 0:55 / /k/new rw - nfs4 10.0.0.5:/new rw,addr=10.0.0.5
64 20 0:41 / /p/new rw - tmpfs diskbridge-published:fs-0123456789abcdef0:/new ro
65 64 0:55 / /p/new rw - nfs4 10.0.0.5:/new rw,addr=10.0.0.5
70 20 0:60 / /by-hand rw - nfs4 10.9.9.9:/ rw,addr=10.9.9.9
80 20 0:61 / /ext rw - ext4 10.0.0.5:/ rw,addr=10.0.0.5
`

func earlierTable(t *testing.T) table {
	t.Helper()
	mounts, err := parseTable([]byte(earlier))
	must(t, err)
	return mounts
}

// TestNFS_staged_byAnEarlierRelease: a mount without a label is the volume's if directory and address are, and only then.
func TestNFS_staged_byAnEarlierRelease(t *testing.T) {
	mounts, n := earlierTable(t), NewNFS(NFSConfig{})
	const name = "fs-0123456789abcdef0.efs.us-east-1.amazonaws.com"
	for _, tc := range []struct {
		point, handle, address string
		tls, ours              bool
	}{
		{"/k/root", fsID, "10.0.0.5", false, true},
		{"/k/root", fsID, "::ffff:10.0.0.5", false, true},
		{"/k/root", fsID, "10.0.0.6", false, false},
		{"/k/root", fsID, name, false, false},
		{"/k/root", fsID, "10.0.0.5", true, false},
		{"/k/root", other, "10.0.0.5", false, false},
		{"/k/dir", other, "10.0.0.5", false, true},
		{"/k/dir", other, name, false, true},
		{"/k/dir", sub, "10.0.0.5", false, true}, // the same directory
		{"/k/tls", fsID, "10.0.0.5", true, true},
		{"/k/tls", fsID, "10.0.0.5", false, false},
		{"/k/again", fsID + ":/again", "10.0.0.5", false, true},
		{"/k/again", fsID + ":/new", "10.0.0.5", false, false}, // another volume's label
		{"/by-hand", fsID, "10.0.0.5", false, false},
		{"/ext", fsID, "10.0.0.5", false, false},
	} {
		plan := nfsPlan(t, nil)
		h, err := volume.ParseHandle(tc.handle)
		must(t, err)
		plan.Handle, plan.Directory, plan.Address, plan.TLS = tc.handle, h.Path, tc.address, tc.tls
		err = n.staged(plan, mounts.spot(tc.point))
		if tc.ours {
			must(t, err)
		} else {
			wantKind(t, err, fault.Conflict, "did not mount it for")
		}
		if got := mounts.spot(tc.point).shows(stagedLabel(tc.handle), addressOf(plan)); got != tc.ours {
			t.Errorf("%s shows %s from %s with TLS %t: %t", tc.point, tc.handle, tc.address, tc.tls, got)
		}
	}
	tunnel := nfsSource{port: 21050, tunnel: true}
	if e := mounts.spot("/k/tls").entry; !tunnel.carries(e) || (nfsSource{port: 21051, tunnel: true}).carries(e) {
		t.Error("a mount is not known by its tunnel")
	}
}

// TestSpot_kept: a target needs no server to go while the volume is staged, by whatever release. The staged mount itself does.
func TestSpot_kept(t *testing.T) {
	mounts := earlierTable(t)
	for _, tc := range []struct {
		point string
		l     label
		kept  bool
	}{
		{"/p/root", publishedLabel(fsID), true},
		{"/p/second", publishedLabel(fsID), true},
		{"/k/root", stagedLabel(fsID), false},
		{"/k/dir", stagedLabel(other), false},
		{"/k/alone", publishedLabel(fsID + ":/alone"), false}, // the last mount, at a target
		{"/p/subpath", publishedLabel(fsID + ":/part"), false},
		{"/p/again", publishedLabel(fsID + ":/again"), true},
		{"/k/again", stagedLabel(fsID + ":/again"), false},
		{"/p/new", publishedLabel(fsID + ":/new"), true},
		{"/k/new", stagedLabel(fsID + ":/new"), false},
		{"/nothing", publishedLabel(fsID), false},
	} {
		if got := mounts.spot(tc.point).kept(tc.l); got != tc.kept {
			t.Errorf("%s at %s is kept elsewhere: %t", tc.l, tc.point, got)
		}
	}
}

// TestOnlyPublishedAt_byAnEarlierRelease: its targets count for a volume that one path may have.
func TestOnlyPublishedAt_byAnEarlierRelease(t *testing.T) {
	mounts, plan := earlierTable(t), nfsPlan(t, nil)
	wantKind(t, onlyPublishedAt(plan, mounts.spot("/k/root"), mounts.spot("/p/third")), fault.InUse, "at /p/root, /p/second already")
	plan.Handle = fsID + ":/again"
	must(t, onlyPublishedAt(plan, mounts.spot("/k/again"), mounts.spot("/p/again")))
	wantKind(t, onlyPublishedAt(plan, mounts.spot("/k/again"), mounts.spot("/p/other")), fault.InUse, "at /p/again already")
}

// TestNFS_flush_tellsEachVolume of a superblock what the server refused, once, although the kernel tells only the first.
func TestNFS_flush_tellsEachVolume(t *testing.T) {
	program := filepath.Join(t.TempDir(), "child")
	const script = `#!/bin/sh
read -r order
case $order in *sync*) rmdir "$0.lost" 2>/dev/null && exec echo '{"failed":true,"lost":true,"message":"no space left on device","errno":28}';; esac
echo '{}'
`
	must(t, os.WriteFile(program, []byte(script), 0o755))
	must(t, os.Mkdir(program+".lost", 0o755))
	n, mounts := NewNFS(NFSConfig{Program: []string{program}}), joinedTable(t, "10.0.0.5")
	flush := func(handle, point string) error {
		h, err := volume.ParseHandle(handle)
		must(t, err)
		return n.work(t.Context(), "test", handle, func(task *task) error {
			_, err := n.flush(t.Context(), task, h, mounts.spot(point))
			return err
		})
	}
	for _, v := range []struct{ handle, point string }{{sub, "/k/sub"}, {other, "/k/other"}, {fsID, "/k/root"}} {
		err := flush(v.handle, v.point)
		wantKind(t, err, fault.Internal, "did not take all", "no space left on device")
		for _, named := range []string{sub, other, fsID} {
			if err != nil && !strings.Contains(err.Error(), named) {
				t.Errorf("%v does not name %s", err, named)
			}
		}
		must(t, flush(v.handle, v.point))
	}
	// A volume that is alone tells nobody else.
	must(t, os.Mkdir(program+".lost", 0o755))
	mounts = earlierTable(t)
	wantKind(t, flush(other, "/k/dir"), fault.Internal, "it is reported once")
	must(t, flush(fsID, "/k/root"))
}
