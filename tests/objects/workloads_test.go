package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func workloads() []workload {
	return []workload{
		{"create", func(_ context.Context, dir string) error { return creations(dir) }},
		{"append", func(_ context.Context, dir string) error { return appends(dir) }},
		{"truncate", func(_ context.Context, dir string) error { return truncations(dir) }},
		{"sparse files", func(_ context.Context, dir string) error { return sparse(dir) }},
		{"rename files", func(_ context.Context, dir string) error { return renames(dir) }},
		{"rename folders", func(_ context.Context, dir string) error { return folderRenames(dir) }},
		{"rename open files", func(_ context.Context, dir string) error { return openRenames(dir) }},
		{"names", func(_ context.Context, dir string) error { return names(dir) }},
		{"mapped memory", func(_ context.Context, dir string) error { return mapped(dir) }},
		{"unlinked open files", func(_ context.Context, dir string) error { return unlinked(dir) }},
		{"times and links", links},
		{"git", git},
		{"tar", tar},
		{"sqlite", sqlite},
	}
}

func creations(dir string) error {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20, 20 << 20, large} {
		path := filepath.Join(dir, fmt.Sprint(size))
		if err := os.WriteFile(path, pattern(size), 0o640); err != nil {
			return err
		}
		if err := holds(path, pattern(size)); err != nil {
			return err
		}
		if _, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640); !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("create %d exclusively again: %w", size, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, "4096"), pattern(10), 0o640) // over what is there
}

func appends(dir string) error {
	for name, begin := range map[string]int{"small": 5, "large": large} {
		path, want := filepath.Join(dir, name), pattern(begin)
		if err := os.WriteFile(path, want, 0o640); err != nil {
			return err
		}
		for i := range 3 {
			line := fmt.Appendf(nil, "line %d of %s\n", i, name)
			if err := edit(path, os.O_APPEND|os.O_WRONLY, func(f *os.File) error { _, err := f.Write(line); return err }); err != nil {
				return err
			}
			if want = append(want, line...); holds(path, want) != nil {
				return holds(path, want)
			}
		}
	}
	return nil
}

func truncations(dir string) error {
	path, text := filepath.Join(dir, "file"), pattern(1<<20)
	return inOrder(
		func() error { return os.WriteFile(path, text, 0o640) },
		func() error { return resize(path, 1000) },
		func() error { return holds(path, text[:1000]) },
		func() error { return resize(path, 5000) },
		func() error { return holds(path, append(slices.Clone(text[:1000]), make([]byte, 4000)...)) },
		func() error { return resize(path, 0) },
		func() error { return holds(path, nil) },
		func() error {
			return edit(path, os.O_RDWR, func(f *os.File) error {
				_, err := f.Write(text)
				err = errors.Join(err, f.Sync(), f.Truncate(2000))
				_, again := f.WriteAt([]byte("end"), 2000)
				return errors.Join(err, again)
			})
		},
		func() error { return holds(path, append(slices.Clone(text[:2000]), "end"...)) },
		func() error { return os.WriteFile(filepath.Join(dir, "large"), pattern(large), 0o640) },
		func() error { return resize(filepath.Join(dir, "large"), large-10) },
		func() error { return holds(filepath.Join(dir, "large"), pattern(large)[:large-10]) },
	)
}

// resize changes a file's size as programs do that have it open: without that, s3fs loses what is in it.
func resize(path string, size int64) error {
	return edit(path, os.O_RDWR, func(f *os.File) error { return f.Truncate(size) })
}

func sparse(dir string) error {
	path, want := filepath.Join(dir, "file"), make([]byte, 40<<20)
	copy(want[30<<20:], "middle")
	copy(want[len(want)-3:], "end")
	err := edit(path, os.O_CREATE|os.O_WRONLY, func(f *os.File) error {
		_, err := f.WriteAt([]byte("end"), int64(len(want)-3))
		_, again := f.WriteAt([]byte("middle"), 30<<20)
		return errors.Join(err, again)
	})
	return errors.Join(err, holds(path, want))
}

func renames(dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	return inOrder(
		func() error { return os.WriteFile(at("old"), []byte("text"), 0o640) },
		func() error { return os.Rename(at("old"), at("new")) },
		func() error { return errors.Join(holds(at("new"), []byte("text")), absent(at("old"))) },
		func() error { return os.WriteFile(at("other"), []byte("other"), 0o640) },
		func() error { return os.Rename(at("new"), at("other")) }, // over another
		func() error { return errors.Join(holds(at("other"), []byte("text")), absent(at("new"))) },
		func() error { return os.WriteFile(at("large"), pattern(large), 0o640) },
		func() error { return os.Rename(at("large"), at("moved")) },
		func() error { return errors.Join(holds(at("moved"), pattern(large)), absent(at("large"))) },
		func() error { return os.WriteFile(at("empty"), nil, 0o640) },
		func() error { return os.Rename(at("empty"), at("still empty")) },
		func() error { return errors.Join(holds(at("still empty"), nil), absent(at("empty"))) },
		func() error { return os.WriteFile(at("save.new"), []byte("saved"), 0o640) }, // as editors save
		func() error { return os.Rename(at("save.new"), at("moved")) },
		func() error { return holds(at("moved"), []byte("saved")) },
		func() error {
			if err := os.Rename(at("nothing"), at("moved")); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("what is not there: %w", err)
			}
			return nil
		},
	)
}

func folderRenames(dir string) error {
	at := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	if err := os.MkdirAll(at("old", "deep", "deeper"), 0o750); err != nil {
		return err
	}
	for i := range 20 {
		folder := []string{"", "deep", "deep/deeper"}[i%3]
		if err := os.WriteFile(at("old", folder, fmt.Sprintf("file %d", i)), pattern(1000*i), 0o640); err != nil {
			return err
		}
	}
	return inOrder(
		func() error { return os.Mkdir(at("old", "nothing in it"), 0o750) },
		func() error { return os.Rename(at("old"), at("new")) },
		func() error {
			return errors.Join(absent(at("old")), holds(at("new", "deep/deeper", "file 5"), pattern(5000)))
		},
		func() error { return os.Mkdir(at("inside"), 0o750) },
		func() error { return os.Rename(at("new", "deep"), at("inside", "deep")) },
		func() error { return holds(at("inside/deep/deeper", "file 5"), pattern(5000)) },
		func() error { return os.MkdirAll(at("gone/with/it"), 0o750) },
		func() error { return os.RemoveAll(at("gone")) },
		func() error { return absent(at("gone")) },
	)
}

func openRenames(dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	writing := func(f *os.File) error {
		return inOrder(
			func() error { _, err := f.WriteString("before "); return err },
			func() error { return os.Rename(at("old"), at("new")) },
			func() error { _, err := f.WriteString("after"); return err },
		)
	}
	reading := func(f *os.File) error {
		got := make([]byte, 5)
		return inOrder(
			func() error { return os.Rename(at("new"), at("newest")) },
			func() error { _, err := f.ReadAt(got, 7); return err },
			func() error {
				if string(got) != "after" {
					return fmt.Errorf("read %q from a file that was renamed", got)
				}
				return nil
			},
		)
	}
	return inOrder(
		func() error { return edit(at("old"), os.O_CREATE|os.O_WRONLY, writing) },
		func() error { return errors.Join(absent(at("old")), holds(at("new"), []byte("before after"))) },
		func() error { return edit(at("new"), os.O_RDONLY, reading) },
		func() error { return holds(at("newest"), []byte("before after")) },
	)
}

// names makes 30 names that have each printable character of ASCII, and in between what servers like to take for something.
func names(dir string) error {
	var all []byte
	for c := byte(' '); c <= '~'; c++ {
		if c != '/' {
			all = append(all, c)
		}
	}
	all = append(all, all[:10]...)
	list := []string{" ", "  two", "end ", "%2F", "%20", "a+b", "-rf", "..dots", "?x=y&z", "#", "quote\"'`$(x)"}
	for i := 0; len(list) < 30; i += 5 {
		list = append(list, string(all[i:min(i+10, len(all))]))
	}
	for i, name := range list {
		path, folder := filepath.Join(dir, name), filepath.Join(dir, "d"+name)
		if err := inOrder(
			func() error { return os.WriteFile(path, []byte(name), 0o640) },
			func() error { return os.Mkdir(folder, 0o750) },
			func() error { return os.Rename(path, filepath.Join(folder, name)) },
			func() error { return os.Rename(folder, filepath.Join(dir, fmt.Sprintf("%d %s", i, name))) },
			func() error { return holds(filepath.Join(dir, fmt.Sprintf("%d %s", i, name), name), []byte(name)) },
		); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

func mapped(dir string) error {
	path, want := filepath.Join(dir, "file"), pattern(64<<10)
	if err := os.WriteFile(path, want, 0o640); err != nil {
		return err
	}
	copy(want[5000:], "written through memory")
	err := edit(path, os.O_RDWR, func(f *os.File) error {
		memory, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(memory[5000:], "written through memory")
		same := bytes.Equal(memory, want)
		if err = errors.Join(unix.Msync(memory, unix.MS_SYNC), unix.Munmap(memory)); err == nil && !same {
			err = errors.New("the memory differs from the file")
		}
		return err
	})
	return errors.Join(err, holds(path, want))
}

func unlinked(dir string) error {
	path, got := filepath.Join(dir, "file"), make([]byte, 4)
	return inOrder(
		func() error { return os.WriteFile(filepath.Join(dir, "stays"), []byte("text"), 0o640) },
		func() error {
			return edit(path, os.O_CREATE|os.O_RDWR, func(f *os.File) error {
				return inOrder(
					func() error { _, err := f.WriteString("one "); return err },
					func() error { return os.Remove(path) },
					func() error { return absent(path) },
					func() error { _, err := f.WriteString("two "); return err },
					func() error { _, err := f.ReadAt(got, 4); return err },
				)
			})
		},
		func() error {
			if string(got) != "two " {
				return fmt.Errorf("read %q from a file without a name", got)
			}
			return absent(path)
		},
	)
}

func links(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "file")
	return inOrder(
		func() error { return os.WriteFile(path, []byte("text"), 0o640) },
		func() error { return os.Symlink("file", filepath.Join(dir, "link")) },
		func() error { return os.Symlink("nowhere/at all", filepath.Join(dir, "dangling")) },
		func() error { return holds(filepath.Join(dir, "link"), []byte("text")) },
		func() error { return run(ctx, dir, "touch", "-d", "2001-02-03T04:05:06Z", "file") },
		func() error {
			st, err := os.Stat(path)
			if err == nil && st.ModTime().Unix() != 981173106 {
				err = fmt.Errorf("touch -d gives %s", st.ModTime())
			}
			return err
		},
	)
}

// run runs a program in a folder.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir),
		"GIT_AUTHOR_DATE=2001-02-03T04:05:06Z", "GIT_COMMITTER_DATE=2001-02-03T04:05:06Z")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func git(ctx context.Context, dir string) error {
	in := func(folder string, args ...string) func() error {
		return func() error {
			return run(ctx, filepath.Join(dir, folder), "git", append([]string{"-c", "user.name=n", "-c", "user.email=e@x", "-c", "gc.auto=0", "-c", "safe.directory=*"}, args...)...)
		}
	}
	return inOrder(
		in("", "init", "-q", "-b", "main", "one"),
		func() error {
			for i := range 10 {
				if err := os.WriteFile(filepath.Join(dir, "one", fmt.Sprint(i)), pattern(100*i), 0o640); err != nil {
					return err
				}
			}
			return nil
		},
		in("one", "add", "."),
		in("one", "commit", "-q", "-m", "first"),
		in("one", "checkout", "-q", "-b", "side"),
		in("one", "mv", "1", "renamed"),
		in("one", "commit", "-q", "-m", "second"),
		in("one", "checkout", "-q", "main"),
		in("one", "merge", "-q", "--no-ff", "-m", "merged", "side"),
		in("", "clone", "-q", "one", "two"),
		in("two", "fsck", "--strict"),
		in("one", "gc", "-q", "--prune=now"),
		in("one", "fsck", "--strict"),
		func() error { return holds(filepath.Join(dir, "two", "renamed"), pattern(100)) },
	)
}

func tar(ctx context.Context, dir string) error {
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(filepath.Join(source, "a", "b"), 0o750); err != nil {
		return err
	}
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(source, []string{"", "a", "a/b"}[i%3], fmt.Sprint(i)), pattern(2000*i), 0o640); err != nil {
			return err
		}
	}
	in := func(args ...string) func() error {
		return func() error {
			return run(ctx, dir, "tar", append([]string{"--sort=name", "--mtime=@981173106", "--owner=0", "--group=0", "--mode=0750"}, args...)...)
		}
	}
	return inOrder(
		func() error { return os.Symlink("a/b", filepath.Join(source, "link")) },
		func() error { return os.Mkdir(filepath.Join(dir, "copy"), 0o750) },
		in("-cf", "all.tar", "source"),
		in("-xf", "all.tar", "-C", "copy", "--no-same-owner"),
		func() error { return run(ctx, dir, "diff", "-r", "--no-dereference", "source", "copy/source") },
	)
}

func sqlite(ctx context.Context, dir string) error {
	sql := func(text string) func() error {
		return func() error { return run(ctx, dir, "sqlite3", "-bail", "base", text) }
	}
	return inOrder(
		sql("create table t(a integer primary key, b text)"),
		sql("with recursive n(i) as (select 1 union all select i+1 from n where i<2000) insert into t select i, hex(i*i) from n"),
		sql("update t set b = b || 'x' where a % 3 = 0; delete from t where a % 7 = 0"),
		sql("begin; insert into t values (9000, 'kept'); commit; begin; insert into t values (9001, 'taken back'); rollback"),
		sql("create index i on t(b); vacuum"),
		sql("select case when (select count(*) from t) = 1716 and (select integrity_check from pragma_integrity_check) = 'ok' then 1 else json('wrong') end"),
	)
}
