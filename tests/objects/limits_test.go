package objects

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestFileSystemLimits does what works on a disk and not in a bucket. Each is told in docs/limitations.md; where s3fs learns
// one, this fails, so that it is taken out there.
func TestFileSystemLimits(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "limitations.md"))
	must(t, err)
	b := w.mounted(ctx, "limits")
	for i, limit := range limits() {
		t.Run(limit.told, func(t *testing.T) {
			if !strings.Contains(string(page), limit.told) {
				t.Errorf("docs/limitations.md does not tell of %q", limit.told)
			}
			for kind, dir := range map[string]string{"here": t.TempDir(), "bucket": b.target} {
				dir = filepath.Join(dir, fmt.Sprint(i))
				must(t, os.Mkdir(dir, 0o750))
				if err := limit.do(ctx, dir); (err == nil) != (kind == "here") {
					t.Errorf("%s: %v", kind, err)
				}
			}
		})
	}
	w.unmount(ctx, b) // that nothing of it keeps the volume from being deleted is part of the test
	must(t, w.delete(ctx, b))
}

// limit is something that works on a disk only; told is how docs/limitations.md calls it.
type limit struct {
	told string
	do   func(ctx context.Context, dir string) error
}

func limits() []limit {
	file := func(do func(ctx context.Context, path string) error) func(context.Context, string) error {
		return func(ctx context.Context, dir string) error {
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, []byte("text"), 0o640); err != nil {
				return err
			}
			return do(ctx, path)
		}
	}
	return []limit{
		{"`chmod` and `chown`", file(ownership)},
		{"`truncate` of a file that is not open", file(func(_ context.Context, path string) error {
			return errors.Join(os.Truncate(path, 2), holds(path, []byte("te")))
		})},
		{"`ftruncate` of what was written since the last `fsync`", file(func(_ context.Context, path string) error {
			err := edit(path, os.O_RDWR, func(f *os.File) error {
				_, err := f.WriteString("longer text")
				return errors.Join(err, f.Truncate(6))
			})
			return errors.Join(err, holds(path, []byte("longer")))
		})},
		{"a time that is set while the file is open", file(timeWhileOpen)},
		{"hard links", file(func(_ context.Context, path string) error { return os.Link(path, path+"-2") })},
		{"extended attributes", file(func(_ context.Context, path string) error { return unix.Setxattr(path, "user.a", []byte("b"), 0) })},
		{"`fallocate`", file(func(_ context.Context, path string) error {
			return edit(path, os.O_RDWR, func(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 0, 1<<20) })
		})},
		{"files without a name (`O_TMPFILE`)", func(_ context.Context, dir string) error {
			return edit(dir, os.O_RDWR|unix.O_TMPFILE, func(*os.File) error { return nil })
		}},
		{"the exchange of two names", file(func(_ context.Context, path string) error {
			err := os.WriteFile(path+"-2", nil, 0o640)
			return errors.Join(err, unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, path+"-2", unix.RENAME_EXCHANGE))
		})},
		{"names that are not UTF-8", func(_ context.Context, dir string) error { return listed(dir, "not \xff UTF-8") }},
		{"access times", file(accessTime)},
	}
}

// ownership changes whom a file belongs to and who may read it.
func ownership(_ context.Context, path string) error {
	if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, 1234, 1234)); err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if owner, ok := st.Sys().(*syscall.Stat_t); !ok || owner.Uid != 1234 || owner.Gid != 1234 || st.Mode().Perm() != 0o600 {
		return fmt.Errorf("it has mode %s of %d:%d", st.Mode(), owner.Uid, owner.Gid)
	}
	return nil
}

var longAgo = time.Unix(981173106, 0)

// timeWhileOpen sets a file's time before it closes it, as tar and cp do.
func timeWhileOpen(_ context.Context, path string) error {
	err := edit(path, os.O_WRONLY, func(f *os.File) error {
		_, err := f.WriteString("new text")
		at := unix.NsecToTimeval(longAgo.UnixNano())
		return errors.Join(err, unix.Futimes(int(f.Fd()), []unix.Timeval{at, at}))
	})
	st, statErr := os.Stat(path)
	if err = errors.Join(err, statErr); err == nil && !st.ModTime().Equal(longAgo) {
		err = fmt.Errorf("its time is %s", st.ModTime())
	}
	return err
}

func accessTime(_ context.Context, path string) error {
	var st unix.Stat_t
	err := errors.Join(os.Chtimes(path, longAgo, time.Time{}), unix.Stat(path, &st))
	if err == nil && st.Atim.Sec != longAgo.Unix() {
		err = fmt.Errorf("it was read at %d", st.Atim.Sec)
	}
	return err
}

// listed proves that a file is found under the name that its folder shows.
func listed(dir, name string) error {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		return err
	}
	defer func() { _ = os.Remove(path) }() // a server's list might not show it, so that it kept the volume from being deleted
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d names: %w", len(found), err)
	}
	_, err = os.Stat(filepath.Join(dir, found[0].Name()))
	return err
}
