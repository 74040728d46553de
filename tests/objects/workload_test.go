package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFileSystemWorkload does in a bucket what programs do with files, and on this machine's own file system beside it, so
// that a wrong expectation shows: both must hold the same in the end. Then the bucket is mounted again, so that what is read
// comes from it and from no cache. What s3fs cannot do is TestFileSystemLimits.
func TestFileSystemWorkload(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.mounted(ctx, "workload")
	t.Run("work", func(t *testing.T) {
		for _, load := range workloads() {
			t.Run(load.name, func(t *testing.T) {
				t.Parallel()
				folder := strings.ReplaceAll(load.name, " ", "-")
				here, there := filepath.Join(t.TempDir(), folder), filepath.Join(b.target, folder)
				for _, dir := range []string{here, there} {
					must(t, os.Mkdir(dir, 0o750))
					if err := load.do(t.Context(), dir); err != nil {
						t.Fatalf("in %s: %v", dir, err)
					}
				}
				same(t, content(t, here), content(t, there))
			})
		}
	})
	before := tree(t, b.target)
	w.unmount(ctx, b)
	w.mount(ctx, b)
	same(t, before, tree(t, b.target))
	w.remove(ctx, b)
}

// workload is something that programs do in a folder. It leaves the same files wherever it is done.
type workload struct {
	name string
	do   func(ctx context.Context, dir string) error
}

// content is the tree without what git notes of the place where it works.
func content(t *testing.T, root string) map[string]string {
	t.Helper()
	all := tree(t, root)
	maps.DeleteFunc(all, func(name, _ string) bool { return strings.Contains(name, ".git/") })
	return all
}

// tree is what a folder holds: a line for each name. Times and rights are not part of it.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[name] = "folder"
		case d.Type() == fs.ModeSymlink:
			out[name], err = os.Readlink(path)
		default:
			var text []byte
			text, err = os.ReadFile(path)
			out[name] = fmt.Sprintf("%d bytes, %x", len(text), sha256.Sum256(text))
		}
		return err
	}))
	return out
}

func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Error("nothing was written")
	}
	for name := range maps.Keys(want) {
		if got[name] != want[name] {
			t.Errorf("%q is %q, want %q", name, got[name], want[name])
		}
	}
	for name := range maps.Keys(got) {
		if want[name] == "" {
			t.Errorf("%q is there: %s", name, got[name])
		}
	}
}

// large is more than s3fs uploads in one part.
const large = 25<<20 + 1

// pattern is content in which each piece of 8 bytes differs from all others, so that a piece at a wrong place shows.
func pattern(size int) []byte {
	out := make([]byte, 0, size+8)
	for i := 0; len(out) < size; i++ {
		out = fmt.Appendf(out, "%07d\n", i)
	}
	return out[:size]
}

// holds proves a file's content.
func holds(path string, want []byte) error {
	got, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		err = fmt.Errorf("%s has %d bytes and should have %d; they differ from byte %d on", path, len(got), len(want), at)
	}
	return err
}

// absent proves that a name is not there.
func absent(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there (%w)", path, err)
	}
	return nil
}

// inOrder stops at the first step that fails.
func inOrder(steps ...func() error) error {
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// edit opens a file and changes it; the error of its close counts.
func edit(path string, flags int, change func(*os.File) error) error {
	f, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(change(f), f.Close())
}

// TestFoldersOfABucketThatKeepsVersions renames and removes folders, of which markers of deletion stay that no program sees.
func TestFoldersOfABucketThatKeepsVersions(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "versions", map[string]string{"versioning": "true"})
	w.mount(ctx, b)
	here := t.TempDir()
	for _, dir := range []string{here, b.target} {
		must(t, folderRenames(dir))
		must(t, os.RemoveAll(filepath.Join(dir, "inside")))
		must(t, os.Mkdir(filepath.Join(dir, "inside"), 0o750)) // once more
	}
	same(t, tree(t, here), tree(t, b.target))
	w.remove(ctx, b)
}
