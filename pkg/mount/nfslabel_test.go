package mount

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	sub   = fsID + ":/base/pvc-1#delete.0123456789abcdef"
	other = fsID + ":/base/pvc-1"
)

// joined is a node on which the root of a file system and two volumes of one directory share a superblock. The directory was
// renamed since, and the first mount's address is shown for all.
const joined = `20 1 8:1 / / rw - ext4 /dev/sda1 rw
30 20 0:40 / /k/root rw - tmpfs diskbridge-staged:fs-0123456789abcdef0 ro
31 30 0:50 / /k/root rw - nfs4 10.0.0.5:/ rw,addr=ADDR
40 20 0:41 / /k/sub rw - tmpfs diskbridge-staged:fs-0123456789abcdef0:/base/pvc-1\043delete.0123456789abcdef ro
41 40 0:50 /moved /k/sub rw - nfs4 10.0.0.5:/moved rw,addr=ADDR
42 20 0:42 / /p/sub rw - tmpfs diskbridge-published:fs-0123456789abcdef0:/base/pvc-1\043delete.0123456789abcdef ro
43 42 0:50 /moved /p/sub rw - nfs4 10.0.0.5:/moved rw,addr=ADDR
50 20 0:43 / /k/other rw - tmpfs diskbridge-staged:fs-0123456789abcdef0:/base/pvc-1 ro
51 50 0:50 /moved /k/other rw - nfs4 10.0.0.5:/moved rw,addr=ADDR
60 20 0:50 /moved/part /p/subpath rw - nfs4 10.0.0.5:/moved/part rw,addr=ADDR
70 20 0:44 / /left rw - tmpfs diskbridge-staged:fs-0123456789abcdef0 ro
80 20 0:51 / /by-hand rw - nfs4 10.9.9.9:/ rw,addr=10.9.9.9
90 20 0:45 / /n2/sub rw - tmpfs diskbridge-other-node rw
91 90 0:60 /moved /n2/sub rw - nfs4 10.0.0.5:/moved rw,addr=ADDR
`

func joinedTable(t *testing.T, address string) table {
	t.Helper()
	mounts, err := parseTable([]byte(strings.ReplaceAll(joined, "ADDR", address)))
	must(t, err)
	return mounts
}

// TestTable_labelled: a mount is known by its label, whatever name and address the kernel shows.
func TestTable_labelled(t *testing.T) {
	mounts := joinedTable(t, "10.0.0.5")
	for l, want := range map[label]string{
		stagedLabel(fsID): "/k/root", stagedLabel(sub): "/k/sub", publishedLabel(sub): "/p/sub", stagedLabel(other): "/k/other", publishedLabel(other): "",
	} {
		if got := points(mounts.labelled(l)); got != want {
			t.Errorf("%s is at %q, want %q", l, got, want)
		}
	}
	for _, e := range mounts {
		if e.point == "/by-hand" && mounts.labelOf(e) != "" {
			t.Error("a mount that this driver did not make has a label")
		}
	}
	if h := stagedLabel(sub).handle(); h != sub {
		t.Errorf("the label's handle is %q", h)
	}
}

// TestInUse: a volume is in use where it is published, and a tunnel where anything of the volume goes through it. Another
// volume of the same directory does not count.
func TestInUse(t *testing.T) {
	left := stagedLabel(sub)
	for _, tc := range []struct {
		address, point, handle, users string
		label                         label
	}{
		{"10.0.0.5", "/k/sub", sub, "/p/sub", left},
		{"10.0.0.5", "/n2/sub", sub, "", left},        // of another node on this machine
		{"10.0.0.5", "/nothing", sub, "/p/sub", left}, // its staged mount was taken away by hand
		{"10.0.0.5", "/nothing", sub, "", ""},         // it was unstaged before
		{"10.0.0.5", "/k/other", other, "", stagedLabel(other)},
		{"10.0.0.5", "/k/root", fsID, "", stagedLabel(fsID)},
		{loopback, "/k/sub", sub, "/p/sub, /p/subpath", left},
		{loopback, "/k/root", fsID, "/p/subpath", stagedLabel(fsID)},
	} {
		at := spot{point: tc.point, mounts: joinedTable(t, tc.address), label: tc.label}
		at.entry, at.mounted = at.mounts.at(tc.point)
		err := inUse(at, tc.handle)
		if tc.users == "" {
			must(t, err)
			continue
		}
		wantKind(t, err, fault.InUse, "still mounted at "+tc.users+";")
	}
}

// TestNFS_Stage_leavesNoLabel where it failed, and takes one for nothing that a killed process left.
func TestNFS_Stage_leavesNoLabel(t *testing.T) {
	needRoot(t)
	n, point := NewNFS(NFSConfig{}), t.TempDir()
	n.tools = tools(t, "mount.nfs4", "echo 'mount.nfs4: Connection refused' >&2; exit 32")
	must(t, Shield(point, string(stagedLabel(other))))
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	wantKind(t, n.Stage(t.Context(), nfsPlan(t, nil), point), fault.Unavailable, "nobody serves NFS")
	if layers := mountsAt(t, point); layers != 0 {
		t.Errorf("%d mounts are left", layers)
	}
	must(t, Shield(point, string(stagedLabel(fsID))))
	must(t, n.Unstage(t.Context(), fsID, point))
	if layers := mountsAt(t, point); layers != 0 {
		t.Errorf("%d mounts are left after unstage", layers)
	}
}

// TestNFS_WhatIsMountedByHand is left alone: it may be another file system's.
func TestNFS_WhatIsMountedByHand(t *testing.T) {
	needRoot(t)
	n, point := NewNFS(NFSConfig{}), t.TempDir()
	must(t, Shield(point, "something"))
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	wantKind(t, n.Stage(t.Context(), nfsPlan(t, nil), point), fault.Conflict, "something", "did not mount it")
	wantKind(t, n.Unstage(t.Context(), fsID, point), fault.Conflict, "left alone")
	wantKind(t, n.Unpublish(t.Context(), fsID, point), fault.Conflict, "left alone")
	if layers := mountsAt(t, point); layers != 1 {
		t.Errorf("%d mounts are there", layers)
	}
}

func TestSameAddress(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"10.0.0.5", "10.0.0.5", true}, {"10.0.0.5", "10.0.0.6", false}, {"fd00:0:0::5", "fd00::5", true}, {"FD00::5", "fd00::5", true},
		{"::ffff:10.0.0.5", "10.0.0.5", true}, {"fs-1.efs.example.com", "10.0.0.5", false}, {"", "", false},
	} {
		if sameAddress(tc.a, tc.b) != tc.same {
			t.Errorf("%q and %q: %t", tc.a, tc.b, !tc.same)
		}
	}
}

// TestMeasures_share: who asks while an answer is being waited for gets the same one, and waits no longer than its own time.
func TestMeasures_share(t *testing.T) {
	m, begun, answer := newMeasures(), make(chan struct{}, 10), make(chan struct{})
	do := func(ctx context.Context) (Stats, error) {
		begun <- struct{}{}
		select {
		case <-answer:
			return Stats{TotalBytes: 7}, nil
		case <-ctx.Done():
			return Stats{}, ctx.Err()
		}
	}
	results := make(chan error, 5)
	for range cap(results) {
		go func() {
			s, err := m.share(t.Context(), fsID, "/x", do)
			if err == nil && s.TotalBytes != 7 {
				err = errors.New("another answer")
			}
			results <- err
		}()
	}
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := m.share(short, fsID, "/x", do)
	wantKind(t, err, fault.Unavailable, "within this call's time")
	close(answer)
	for range cap(results) {
		must(t, <-results)
	}
}

// TestMeasures_stop: unmounting ends measurements of its volume, waits for their end, and lets none begin meanwhile.
func TestMeasures_stop(t *testing.T) {
	m, begun, ended := newMeasures(), make(chan string, 10), make(chan string, 10)
	hang := func(name string) func(context.Context) (Stats, error) {
		return func(ctx context.Context) (Stats, error) {
			begun <- name
			<-ctx.Done()
			ended <- name
			return Stats{}, ctx.Err()
		}
	}
	results := make(chan error, 2)
	go func() { _, err := m.share(t.Context(), fsID, "/x", hang("own")); results <- err }()
	go func() { _, err := m.share(t.Context(), other, "/y", hang("other")); results <- err }()
	names := []string{<-begun, <-begun}
	if !slices.Contains(names, "own") {
		t.Fatal(names)
	}
	release, err := m.stop(t.Context(), fsID)
	must(t, err)
	if name := <-ended; name != "own" {
		t.Errorf("the measurement of %s was ended", name)
	}
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("who waited hears %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = m.share(short, fsID, "/x", hang("during"))
	wantKind(t, err, fault.Pending, "being unmounted")
	release()
	s, err := m.share(t.Context(), fsID, "/x", func(context.Context) (Stats, error) { return Stats{TotalBytes: 1}, nil })
	if err != nil || s.TotalBytes != 1 {
		t.Errorf("after the release: %v, %v", s, err)
	}
	releaseOther, err := m.stop(t.Context(), other)
	must(t, err)
	releaseOther()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("who waited for the other hears %v", err)
	}
}

func TestSyncAt(t *testing.T) {
	if lost, err := syncAt(t.TempDir()); lost || err != nil {
		t.Errorf("%t, %v", lost, err)
	}
	if lost, err := syncAt("/no/such/path"); lost || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%t, %v", lost, err)
	}
	h, err := volume.ParseHandle(fsID)
	must(t, err)
	n := NewNFS(NFSConfig{})
	err = n.work(t.Context(), "test", "x", func(task *task) error {
		stale, err := n.flush(t.Context(), task, h, spot{point: t.TempDir()})
		if stale {
			t.Error("a directory that answers is stale")
		}
		return err
	})
	must(t, err)
}
