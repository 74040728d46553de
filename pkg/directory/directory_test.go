package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// system is a file system's root in a folder.
type system struct {
	*os.Root
	dir string
	t   *testing.T
}

func newSystem(t *testing.T) system {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return system{root, dir, t}
}

func (s system) write(name string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("text"), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func (s system) has(name string) bool {
	_, err := os.Lstat(filepath.Join(s.dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// wanted is a directory that the test's own user may give to itself.
func wanted(path string, onDelete volume.OnDelete) volume.Directory {
	return volume.Directory{
		Cluster: "c", Name: "pvc-1", Path: path, OnDelete: onDelete,
		Owner: volume.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Perms: 0o2770},
	}
}

func removal(d volume.Directory) volume.Removal {
	return volume.Removal{Cluster: d.Cluster, Path: d.Path, OnDelete: d.OnDelete, Digest: d.Digest()}
}

func (s system) remove(d volume.Directory) error {
	return Remove(s.t.Context(), s.Root, removal(d), func(int) {})
}

func wantKind(t *testing.T, err error, kind fault.Kind, words string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %s with %q", err, kind, words)
	}
}

func TestMake(t *testing.T) {
	t.Run("once, from many nodes at a time", func(t *testing.T) {
		s, d := newSystem(t), wanted("/base/pvc-1", volume.Delete)
		var all sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			all.Go(func() { errs[i] = Make(s.Root, d) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(s.dir, "base/pvc-1"))
		if err != nil || st.Mode().Perm() != 0o770 || st.Mode()&fs.ModeSetgid == 0 {
			t.Errorf("the directory is %v (%v), want setgid and 770", st.Mode(), err)
		}
		if st, err := os.Stat(s.dir + volume.Reserved); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s is %v (%v), want 700", volume.Reserved, st.Mode(), err)
		}
	})
	t.Run("what its users changed stays", func(t *testing.T) {
		s, d := newSystem(t), wanted("/pvc-1", volume.Delete)
		if err := errors.Join(Make(s.Root, d), os.Chmod(s.dir+"/pvc-1", 0o711), Make(s.Root, d)); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(s.dir + "/pvc-1"); err != nil || st.Mode().Perm() != 0o711 {
			t.Errorf("mode %v (%v)", st.Mode(), err)
		}
	})
	t.Run("a crash after the marker, or after the directory, is made good", func(t *testing.T) {
		for _, before := range []func(system) error{
			func(system) error { return nil },
			func(s system) error { return os.Mkdir(s.dir+"/pvc-1", 0o700) },
		} {
			s, d := newSystem(t), wanted("/pvc-1", volume.Delete)
			ours := marker{Cluster: "c", Name: "pvc-1", Path: d.Path, Digest: d.Digest(), OnDelete: d.OnDelete, State: making}
			if ok, err := claim(s.Root, ours); err != nil || !ok {
				t.Fatal(ok, err)
			}
			if err := errors.Join(before(s), Make(s.Root, d)); err != nil {
				t.Fatal(err)
			}
			if st, err := os.Stat(s.dir + "/pvc-1"); err != nil || st.Mode().Perm() != 0o770 {
				t.Errorf("mode %v (%v)", st.Mode(), err)
			}
		}
	})
	t.Run("refuses", func(t *testing.T) {
		s := newSystem(t)
		s.write("taken/file")
		s.write("plain")
		if err := errors.Join(os.Symlink("taken", s.dir+"/link"), Make(s.Root, wanted("/mine", volume.Delete))); err != nil {
			t.Fatal(err)
		}
		wantKind(t, Make(s.Root, wanted("/taken", volume.Delete)), fault.Conflict, "no marker of ours")
		wantKind(t, Make(s.Root, wanted("/plain/below", volume.Delete)), fault.Conflict, "not a directory")
		wantKind(t, Make(s.Root, wanted("/link/below", volume.Delete)), fault.Conflict, "not a directory")
		wantKind(t, Make(s.Root, wanted("/mine", volume.Retain)), fault.Conflict, "pvc-1")
		for _, path := range []string{"/", "", "a", "/a/../b", volume.Reserved, volume.Reserved + "/x"} {
			wantKind(t, Make(s.Root, wanted(path, volume.Delete)), fault.Invalid, "absolute path")
		}
		if s.has("taken/below") {
			t.Error("a directory was made behind a symbolic link")
		}
	})
}

func TestOwnRoot(t *testing.T) {
	owner := volume.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Perms: 0o770}
	mode := func(s system) fs.FileMode {
		st, err := os.Stat(s.dir)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode().Perm()
	}
	for name, tc := range map[string]struct {
		before func(system) error
		want   fs.FileMode
	}{
		"as EFS makes it":       {func(system) error { return nil }, 0o770},
		"with something in it":  {func(s system) error { s.write("file"); return nil }, 0o755},
		"changed by its owners": {func(s system) error { return os.Chmod(s.dir, 0o711) }, 0o711},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			if err := errors.Join(os.Chmod(s.dir, 0o755), tc.before(s), OwnRoot(s.Root, owner)); err != nil {
				t.Fatal(err)
			}
			if got := mode(s); got != tc.want {
				t.Errorf("mode %o, want %o", got, tc.want)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	t.Run("with all that is in it, and nothing else", func(t *testing.T) {
		s, d := newSystem(t), wanted("/prod", volume.Delete)
		s.write("prod-2/file")
		s.write("elsewhere/file")
		if err := Make(s.Root, d); err != nil {
			t.Fatal(err)
		}
		s.write("prod/a/b/c")
		if err := errors.Join(os.Symlink("../elsewhere", s.dir+"/prod/link"), os.Symlink("/", s.dir+"/prod/root")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.remove(d), s.remove(d)); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"prod": false, "prod-2/file": true, "elsewhere/file": true} {
			if s.has(name) != want {
				t.Errorf("%s is there: %t", name, !want)
			}
		}
		if left, err := os.ReadDir(s.dir + volume.Reserved); err != nil || len(left) > 0 {
			t.Errorf("left are %v (%v)", left, err)
		}
	})
	t.Run("cut short, and again", func(t *testing.T) {
		s, d := newSystem(t), wanted("/prod", volume.Delete)
		if err := Make(s.Root, d); err != nil {
			t.Fatal(err)
		}
		for i := range 2*batch + 1 {
			s.write(fmt.Sprintf("prod/%d", i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := Remove(ctx, s.Root, removal(d), func(int) { cancel() })
		wantKind(t, err, fault.Pending, "next call")
		if s.has("prod") {
			t.Error("its users still see it")
		}
		wantKind(t, Make(s.Root, d), fault.InUse, "being removed")
		if err := s.remove(d); err != nil || s.has("prod") {
			t.Errorf("the second call: %v", err)
		}
	})
	t.Run("leaves alone", func(t *testing.T) {
		s, d := newSystem(t), wanted("/prod", volume.Delete)
		if err := s.remove(d); err != nil { // never staged
			t.Fatal(err)
		}
		s.write("prod/file")
		wantKind(t, s.remove(d), fault.InUse, "no marker of ours")
		other := wanted("/other", volume.Delete)
		if err := Make(s.Root, other); err != nil {
			t.Fatal(err)
		}
		wrong := removal(other)
		wrong.Digest = d.Digest()
		wantKind(t, Remove(t.Context(), s.Root, wrong, func(int) {}), fault.InUse, "pvc-1")
		foreign := removal(other)
		foreign.Cluster = "another"
		wantKind(t, Remove(t.Context(), s.Root, foreign, func(int) {}), fault.InUse, "pvc-1")
		changed := removal(other)
		changed.OnDelete = volume.Archive
		wantKind(t, Remove(t.Context(), s.Root, changed, func(int) {}), fault.InUse, "pvc-1")
		if err := Make(s.Root, wanted("/other/below", volume.Delete)); err != nil {
			t.Fatal(err)
		}
		wantKind(t, s.remove(other), fault.InUse, "/other/below")
		for _, path := range []string{"/", volume.Reserved} {
			wantKind(t, s.remove(wanted(path, volume.Delete)), fault.Invalid, "below the root")
		}
		if !s.has("prod/file") || !s.has("other/below") {
			t.Error("something is gone")
		}
	})
}

// TestMake_SaysThatItsDirectoryWasRemoved, and does not make an empty one where data was.
func TestMake_SaysThatItsDirectoryWasRemoved(t *testing.T) {
	s, d := newSystem(t), wanted("/base/prod", volume.Delete)
	if err := Make(s.Root, d); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"/base/prod", "/base"} {
		if err := os.Remove(s.dir + gone); err != nil {
			t.Fatal(err)
		}
		wantKind(t, Make(s.Root, d), fault.NotFound, "removed or renamed")
		if s.has(gone[1:]) {
			t.Errorf("%s was made again", gone)
		}
	}
	if err := s.remove(d); err != nil {
		t.Errorf("its removal: %v", err)
	}
}

func TestMode(t *testing.T) {
	dir := t.TempDir()
	for _, perms := range []uint32{0o755, 0o2770, 0o1777, 0o4711} {
		var st unix.Stat_t
		if err := errors.Join(os.Chmod(dir, mode(perms)), unix.Stat(dir, &st)); err != nil || st.Mode&0o7777 != perms {
			t.Errorf("%o became %o (%v)", perms, st.Mode&0o7777, err)
		}
	}
}
