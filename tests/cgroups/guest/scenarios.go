package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/tests/lane"
)

// scenario is one way in which a mounter finds control groups.
type scenario struct {
	name string
	run  func(ctx context.Context, w *world) error
}

func list() []scenario {
	const container, unit = "kubepods/pod1/container", "system.slice/diskbridge-mounter.service"
	contained := func(how string, then func(context.Context, *world) error) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error {
			group, err := w.group(container)
			if err == nil {
				err = w.contain(ctx, how, group)
			}
			if err != nil {
				return err
			}
			return then(ctx, w)
		}
	}
	return []scenario{
		{"a privileged container that sees the host's groups", contained(hostView, bounded)},
		{"a container that kubelet ends as a whole", func(ctx context.Context, w *world) error { return grouped(ctx, w, container) }},
		{"a container with a namespace of its own", contained(ownNamespace, bounded)},
		{"a container with a read-only hierarchy", contained(readOnlyView, shared("read-only file system"))},
		{"a container whose group has another process", func(ctx context.Context, w *world) error { return crowded(ctx, w, container) }},
		{"a systemd unit with a delegated subgroup", func(ctx context.Context, w *world) error { return delegated(ctx, w, unit) }},
		{"a systemd unit before version 254", func(ctx context.Context, w *world) error { return oldUnit(ctx, w, unit) }},
		{"a systemd unit that is not delegated", func(ctx context.Context, w *world) error {
			group, err := w.group(unit)
			return lane.InOrder(ctx, func(context.Context) error { return err }, func(ctx context.Context) error { return w.serve(ctx, group) },
				func(ctx context.Context) error { return shared("is not delegated")(ctx, w) })
		}},
		{"TestOutOfMemory of tests/objects", outOfMemory},
		{"the root of all groups", func(ctx context.Context, w *world) error {
			if err := w.serve(ctx, cgroups); err != nil {
				return err
			}
			return shared("root of all control groups")(ctx, w)
		}},
	}
}

// outOfMemory runs the test that machines of version 1 run, too. Its S3 server needs a file system with attributes of users.
func outOfMemory(ctx context.Context, _ *world) (err error) {
	const disk = "/run/disk"
	run := func(name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		return lane.Named(fmt.Sprintf("%s: %s", name, out), err)
	}
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 256<<20), run("mkfs.ext4", "-q", "-F", disk), run("mount", "-o", "loop", disk, "/tmp")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run("umount", "/tmp"), os.Remove(disk)) }()
	test := exec.CommandContext(ctx, "/bin/objects.test", "-test.v", "-test.run=^TestOutOfMemory$")
	test.Dir = "/tmp"
	test.Env = append(os.Environ(), "DISKBRIDGE_BIN=/bin", "DISKBRIDGE_VERSITYGW=/bin/versitygw")
	out, err := test.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOutOfMemory") {
		fmt.Fprintf(os.Stderr, "%s\n", out)
		return fmt.Errorf("it did not pass (%w); the console has its output", err)
	}
	return nil
}

// grouped is a container whose group the kernel ends as a whole, as kubelet sets it: a mount that is out of memory is not the
// container's end.
func grouped(ctx context.Context, w *world, path string) error {
	group, err := w.group(path)
	if err != nil {
		return err
	}
	err = errors.Join(write(group+"/memory.oom.group", "1"), write(group+"/memory.max", strconv.Itoa(300<<20)), w.contain(ctx, hostView, group))
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(group + "/memory.oom.group"); err != nil || strings.TrimSpace(string(text)) != "0" {
		return fmt.Errorf("memory.oom.group is %q (%w): the container's limit would end all mounts", text, err)
	}
	return bounded(ctx, w)
}

// crowded is a container that shares its group with a process of the host: nothing of that is touched.
func crowded(ctx context.Context, w *world, path string) error {
	group, err := w.group(path)
	if err != nil {
		return err
	}
	other := exec.Command("/proc/self/exe", waitCommand) //nolint:noctx // cleanUp ends it
	if _, err := other.StdinPipe(); err != nil {         // it ends with its input
		return err
	}
	w.helpers = append(w.helpers, other)
	if err := errors.Join(into(other, group, 0), w.contain(ctx, hostView, group)); err != nil {
		return err
	}
	if err := shared("processes of others")(ctx, w); err != nil {
		return err
	}
	in, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", other.Process.Pid))
	if want := "0::/" + path; err != nil || strings.TrimSpace(string(in)) != want {
		return fmt.Errorf("the other process was moved: %s (%w)", in, err)
	}
	return nil
}

// delegated is a unit of which systemd starts the process in a subgroup, twice: what the first mounter started goes on.
func delegated(ctx context.Context, w *world, path string) error {
	group, err := w.group(path)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Setxattr(group, "trusted.delegate", []byte("1"), 0), os.MkdirAll(group+"/mounter", 0o755))
	if err == nil {
		err = w.serve(ctx, group+"/mounter")
	}
	if err == nil {
		err = w.stage(ctx, "bucket-a")
	}
	if err != nil {
		return err
	}
	before, err := w.program("bucket-a")
	if err != nil {
		return err
	}
	_ = w.mounter.Process.Kill() // as a crash
	_ = w.mounter.Wait()
	if err := w.serve(ctx, group+"/mounter"); err != nil {
		return err
	}
	if after, err := w.program("bucket-a"); err != nil || after != before {
		return fmt.Errorf("s3fs was %d and is %d (%w)", before, after, err)
	}
	return bounded(ctx, w)
}

// oldUnit is a unit whose process systemd starts in the delegated group itself: the reason names what is missing.
func oldUnit(ctx context.Context, w *world, path string) error {
	group, err := w.group(path)
	if err == nil {
		err = errors.Join(unix.Setxattr(group, "trusted.delegate", []byte("1"), 0), w.serve(ctx, group))
	}
	if err != nil {
		return err
	}
	if err := shared("use systemd 254 or later")(ctx, w); err != nil {
		return err
	}
	return errors.Join(w.mounter.Process.Kill(), ignore(w.mounter.Wait()), w.serve(ctx, group)) // systemd can start it again there
}

// ignore is for the status of a process that was killed.
func ignore(error) error { return nil }

// bounded proves that each mount has its own memory: one is out of it, is named, and comes back; the other goes on.
func bounded(ctx context.Context, w *world) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	told := w.watch(watching)
	for _, bucket := range []string{"bucket-a", "bucket-b"} {
		if err := lane.Named("stage "+bucket, w.stage(ctx, bucket)); err != nil {
			return err
		}
	}
	if reason := <-told.unbounded; reason != "" {
		return fmt.Errorf("the mounter says: %s", reason)
	}
	a, b := programOf(w, "bucket-a"), programOf(w, "bucket-b")
	if err := errors.Join(a.limited(), b.limited()); err != nil {
		return err
	}
	file := filepath.Join(w.staging("bucket-a"), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		return err
	}
	written := writing(filepath.Join(w.staging("bucket-b"), "other"))
	err := lane.Eventually(ctx, "the bucket is there again", func() error {
		now := programOf(w, "bucket-a")
		if now.pid == a.pid { // it cannot go on with so little
			_ = write(a.group+"/memory.max", "1M")
			_ = os.WriteFile(filepath.Join(w.staging("bucket-a"), "large"), make([]byte, 4<<20), 0o600) // it fails with its program
		}
		if now.err != nil || now.pid == a.pid {
			return fmt.Errorf("s3fs is %d, and was %d (%w)", now.pid, a.pid, now.err)
		}
		_, err := os.ReadFile(file)
		return errors.Join(err, now.limited())
	})
	if err := errors.Join(err, lane.Named("the other bucket", written())); err != nil {
		return err
	}
	if now := programOf(w, "bucket-b"); now.err != nil || now.pid != b.pid {
		return fmt.Errorf("the other s3fs was %d and is %d (%w)", b.pid, now.pid, now.err)
	}
	select {
	case l := <-told.lost:
		if l.Handle != "s3://own@bucket-a" || !strings.Contains(l.OutOfMemory, "out of memory") || !strings.Contains(l.OutOfMemory, fmt.Sprintf("--mount-memory=%d", mountMemory)) {
			return fmt.Errorf("told of %+v", l)
		}
	case <-time.After(30 * time.Second):
		return errors.New("told of no loss")
	}
	if err := errors.Join(w.unstage(ctx, "bucket-a"), w.unstage(ctx, "bucket-b")); err != nil {
		return err
	}
	for _, group := range []string{a.group, b.group} {
		if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is left (%w)", group, err)
		}
	}
	return nil
}

// shared proves that a mounter which cannot divide memory says so, mounts all the same, and is not the first that the kernel ends.
func shared(reason string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		if got := <-w.watch(watching).unbounded; !strings.Contains(got, reason) {
			return fmt.Errorf("the mounter says %q, want %q", got, reason)
		}
		if err := w.stage(ctx, "bucket-a"); err != nil {
			return err
		}
		p := programOf(w, "bucket-a")
		if p.err != nil {
			return p.err
		}
		of := func(pid int) int {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
			score, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return score
		}
		if own := of(w.mounter.Process.Pid); of(p.pid) <= own {
			return fmt.Errorf("s3fs has the score %d, and the mounter %d", of(p.pid), own)
		}
		return w.unstage(ctx, "bucket-a")
	}
}

// program is what mounts a bucket, and its control group as a folder.
type program struct {
	pid   int
	group string
	err   error
}

func programOf(w *world, bucket string) (p program) {
	if p.pid, p.err = w.program(bucket); p.err != nil {
		return p
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid))
	p.group, p.err = cgroups+strings.TrimPrefix(strings.TrimSpace(string(text)), "0::"), err
	return p
}

// limited proves that its memory is bounded, and swap with it.
func (p program) limited() error {
	if p.err != nil {
		return p.err
	}
	for file, want := range map[string]string{"memory.max": strconv.Itoa(mountMemory << 20), "memory.swap.max": "0"} {
		text, err := os.ReadFile(filepath.Join(p.group, file))
		if errors.Is(err, os.ErrNotExist) && file == "memory.swap.max" { // this kernel counts no swap
			continue
		}
		if err != nil || strings.TrimSpace(string(text)) != want {
			return fmt.Errorf("%s of %s is %q (%w), want %s", file, p.group, text, err, want)
		}
	}
	return nil
}

// writing writes a file again and again, until it is called for what came of it.
func writing(path string) func() error {
	stop, failed := make(chan struct{}), error(nil)
	var running sync.WaitGroup
	running.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				if n == 0 {
					failed = errors.New("nothing was written")
				}
				return
			default:
			}
			if failed = os.WriteFile(path, []byte(strconv.Itoa(n)), 0o600); failed != nil {
				return
			}
		}
	})
	return func() error { close(stop); running.Wait(); return failed }
}
