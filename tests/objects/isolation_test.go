package objects

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// memoryGroup is the control group that divides a process' memory, as a folder, and whether it is one of version 1.
func memoryGroup(t *testing.T, pid int) (group string, first bool) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if _, group, ok := strings.Cut(strings.TrimSpace(line), ":memory:"); ok {
			return "/sys/fs/cgroup/memory" + group, true
		}
	}
	_, group, _ = strings.Cut(strings.TrimSpace(string(text)), "0::")
	return "/sys/fs/cgroup" + group, false
}

// ownGroup moves this test's process, and what it starts, into a control group of version 2 as systemd gives the mounter. It does
// nothing on version 1, which needs none.
func ownGroup(t *testing.T) {
	t.Helper()
	group, first := memoryGroup(t, os.Getpid())
	if first {
		return
	}
	unit := filepath.Join(group, fmt.Sprintf("diskbridge-test-%d", os.Getpid()))
	enter := func(group string) error {
		return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
	}
	err := os.MkdirAll(filepath.Join(unit, "mounter"), 0o755)
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+memory"), 0o600), enter(filepath.Join(unit, "mounter")))
	}
	t.Cleanup(func() {
		_ = enter(group) // it may never have left
		harness.Eventually(t, "the control group is free", func(context.Context) error {
			return errors.Join(ignoreMissing(os.Remove(filepath.Join(unit, "mounter"))), ignoreMissing(os.Remove(unit)))
		})
	})
	if err != nil {
		t.Skipf("memory cannot be divided here (%v); `make test-cgroups` has a kernel for it", err)
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// squeeze takes all memory from a control group that the kernel can take.
func squeeze(group string, first bool) {
	if !first { // the kernel ends what needs more
		_ = os.WriteFile(filepath.Join(group, "memory.max"), []byte("1M"), 0o600) // the group may be gone
		return
	}
	used, err := os.ReadFile(filepath.Join(group, "memory.usage_in_bytes"))
	bytes, parseErr := strconv.Atoi(strings.TrimSpace(string(used)))
	for err = errors.Join(err, parseErr); err == nil && bytes > 0; {
		bytes -= 64 << 10
		err = os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte(strconv.Itoa(bytes)), 0o600)
	}
}

// TestOutOfMemory lets one of two s3fs need more memory than its control group has: the other goes on, it comes back, and the
// node plugin names the reason.
func TestOutOfMemory(t *testing.T) {
	if harness.IsRoot() {
		ownGroup(t)
	}
	w, ctx := newWorld(t), t.Context()
	hungry, other := w.create(ctx, "hungry", nil), w.create(ctx, "modest", nil)
	for _, b := range []*bucket{hungry, other} {
		w.mount(ctx, b)
	}
	must(t, os.WriteFile(filepath.Join(hungry.target, "before"), []byte("text"), 0o600))
	pid := programs(t, w.dir)[hungry.staging]
	stop := writer(other.target)
	settle(t, other.target, 2)
	group, first := memoryGroup(t, pid)
	if !strings.Contains(group, "/diskbridge-") {
		t.Fatalf("s3fs is in %s: it has no limit of its own", group)
	}
	harness.Eventually(t, "it is out of memory", func(context.Context) error {
		squeeze(group, first)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				_ = os.WriteFile(filepath.Join(hungry.target, fmt.Sprintf("large-%d", i)), make([]byte, 4<<20), 0o600) // it fails with its program
			})
		}
		all.Wait()
		if now := programs(t, w.dir)[hungry.staging]; now == pid {
			return errors.New("it runs")
		}
		return nil
	})
	harness.Eventually(t, "the bucket is there again", func(context.Context) error {
		_, err := os.ReadFile(filepath.Join(hungry.target, "before"))
		return err
	})
	if n, err := stop(); err != nil {
		t.Errorf("the other mount failed after %d files: %v", n, err)
	}
	harness.Eventually(t, "the reason is named", func(context.Context) error {
		if said := "out of memory: its program needs more than --mount-memory=512"; !strings.Contains(w.mounter.Log(), said) || !strings.Contains(w.driver.Log(), said) {
			return errors.New("mounter or node plugin do not say it")
		}
		return nil
	})
	for _, b := range []*bucket{hungry, other} {
		w.remove(ctx, b)
	}
}

// TestProgramHangs stops s3fs under a program that writes: after the mounter's patience it is given up, and nothing hangs.
func TestProgramHangs(t *testing.T) {
	w, ctx := newWorld(t, "--patience=2s"), t.Context()
	b := w.mounted(ctx, "hangs")
	must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGSTOP))
	waiting := make(chan error, 1)
	go func() { waiting <- os.WriteFile(filepath.Join(b.target, "never"), []byte("text"), 0o600) }()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// The calls answer in time, whatever they answer.
	if err := errors.Join(w.unpublish(short, b), w.unstage(short, b)); err != nil && status.Code(err) == codes.DeadlineExceeded {
		t.Error(err)
	}
	harness.Eventually(t, "it is unmounted", func(ctx context.Context) error {
		return errors.Join(w.unpublish(ctx, b), w.unstage(ctx, b))
	})
	if err := <-waiting; err == nil {
		t.Error("a write that nobody took succeeded")
	}
	must(t, w.delete(ctx, b))
}

// TestUnstageWaitsForWhatWasWritten unmounts from under a file that is open, as an impatient administrator: it is uploaded.
func TestUnstageWaitsForWhatWasWritten(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.mounted(ctx, "dirty")
	f, err := os.Create(filepath.Join(b.target, "file"))
	must(t, err)
	_, err = f.WriteString("not uploaded yet")
	must(t, err)
	err = w.unpublish(ctx, b)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a target in use: %v", err)
	}
	must(t, syscall.Unmount(b.target, syscall.MNT_DETACH))
	must(t, w.unpublish(ctx, b))
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := w.unstage(short, b); status.Code(err) != codes.Aborted {
		t.Errorf("a mount that is still written to: %v", err)
	}
	if len(programs(t, w.dir)) != 1 {
		t.Error("s3fs was ended with a file open")
	}
	must(t, f.Close())
	must(t, w.unstage(ctx, b))
	w.mount(ctx, b)
	if got, err := os.ReadFile(filepath.Join(b.target, "file")); err != nil || string(got) != "not uploaded yet" {
		t.Errorf("the bucket has %q (%v)", got, err)
	}
	w.remove(ctx, b)
}

// TestWaysToUse mounts for a group, and read-only.
func TestWaysToUse(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "group", nil)
	group := func(gid string) *csi.VolumeCapability {
		return &csi.VolumeCapability{AccessMode: shared.AccessMode, AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{VolumeMountGroup: gid}}}
	}
	stage := func(c *csi.VolumeCapability) error {
		_, err := w.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: b.VolumeId, VolumeContext: b.VolumeContext, StagingTargetPath: b.staging, VolumeCapability: c})
		return err
	}
	publish := func(target string, c *csi.VolumeCapability, readOnly bool) error {
		_, err := w.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: b.VolumeId, VolumeContext: b.VolumeContext, StagingTargetPath: b.staging,
			TargetPath: target, VolumeCapability: c, Readonly: readOnly})
		return err
	}
	must(t, stage(group("2000")))
	must(t, publish(b.target, group("2000"), false))
	must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o660))
	st, err := os.Stat(filepath.Join(b.target, "file"))
	must(t, err)
	if owner, ok := st.Sys().(*syscall.Stat_t); !ok || owner.Gid != 2000 || st.Mode().Perm() != 0o770 {
		t.Errorf("the file has %+v and mode %s, want group 2000 and no right for others", owner, st.Mode())
	}
	if err := publish(b.target+"-2", group("3000"), false); status.Code(err) != codes.AlreadyExists && status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "fsGroup") {
		t.Errorf("another group: %v", err)
	}
	must(t, publish(b.target+"-ro", group("2000"), true))
	if err := os.WriteFile(filepath.Join(b.target+"-ro", "other"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a read-only target: %v", err)
	}
	for _, target := range []string{b.target, b.target + "-ro"} {
		_, err := w.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: b.VolumeId, TargetPath: target})
		must(t, err)
	}
	must(t, w.unstage(ctx, b))
	t.Run("many readers", func(t *testing.T) {
		reader := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY}, AccessType: shared.AccessType}
		must(t, stage(reader))
		must(t, publish(b.target, reader, false))
		if got, err := os.ReadFile(filepath.Join(b.target, "file")); err != nil || string(got) != "text" {
			t.Errorf("%q (%v)", got, err)
		}
		if err := os.WriteFile(filepath.Join(b.target, "other"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Errorf("a write: %v", err)
		}
		w.unmount(ctx, b)
	})
	must(t, w.delete(ctx, b))
}

// TestMounterDrains asks a mounter to end, as a container's is, while a file is open for writing: it waits until that is uploaded.
func TestMounterDrains(t *testing.T) {
	w, ctx := newWorld(t, "--drain=30s"), t.Context()
	b := w.mounted(ctx, "drains")
	f, err := os.Create(filepath.Join(b.target, "file"))
	must(t, err)
	_, err = f.WriteString("text")
	must(t, err)
	must(t, syscall.Kill(w.mounter.PID(), syscall.SIGTERM))
	select {
	case <-w.mounter.Done():
		t.Error("it ended with a file open for writing")
	case <-time.After(time.Second):
	}
	must(t, f.Close())
	select {
	case <-w.mounter.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	var fs syscall.Statfs_t
	if must(t, syscall.Statfs(b.target, &fs)); fs.Flags&syscall.MS_RDONLY == 0 {
		t.Error("a write would be lost now")
	}
	must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGKILL)) // as the container's end does
	w.startMounter()
	harness.Eventually(t, "the bucket is there again", func(context.Context) error {
		got, err := os.ReadFile(filepath.Join(b.target, "file"))
		if err == nil && string(got) != "text" {
			t.Errorf("it holds %q", got)
		}
		return err
	})
	must(t, os.WriteFile(filepath.Join(b.target, "late"), nil, 0o600))
	w.remove(ctx, b)
}

// TestContainerSeesItAgain kills s3fs under a container that takes mounts from the host (mountPropagation: HostToContainer).
func TestContainerSeesItAgain(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "container", nil)
	pods := w.pods(t)
	b.target = filepath.Join(pods, "target")
	w.mount(ctx, b)
	must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o600))
	container := exec.CommandContext(ctx, "unshare", "--mount", "--propagation=slave", "sh", "-ec",
		`mkdir "$0"; mount --rbind "$1" "$0"; mount --make-rslave "$0"; cat "$0/file"; echo; while read -r _; do cat "$0/file" 2>/dev/null || printf lost; echo; done`,
		filepath.Join(w.dir, "inside"), b.target)
	stdin, err := container.StdinPipe()
	must(t, err)
	stdout, err := container.StdoutPipe()
	must(t, err)
	must(t, container.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = container.Wait() }) // it ends with its input
	said := bufio.NewScanner(stdout)
	if !said.Scan() || said.Text() != "text" {
		t.Fatalf("the container reads %q", said.Text())
	}
	must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGKILL))
	harness.Eventually(t, "the container sees the bucket again", func(context.Context) error {
		if _, err := stdin.Write([]byte("again\n")); err != nil {
			return err
		}
		if !said.Scan() || said.Text() != "text" {
			return fmt.Errorf("it reads %q", said.Text())
		}
		return nil
	})
	must(t, stdin.Close())
	must(t, container.Wait())
	w.remove(ctx, b)
}

// TestUnstageBesideACopiedNamespace unmounts a bucket that another mount namespace has as well: with nothing left to upload,
// nobody waits for that.
func TestUnstageBesideACopiedNamespace(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.mounted(ctx, "copied")
	must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o600))
	copied := exec.CommandContext(ctx, "unshare", "--mount", "--propagation=private", "sh", "-c", "echo; read -r _")
	stdin, err := copied.StdinPipe()
	must(t, err)
	stdout, err := copied.StdoutPipe()
	must(t, err)
	must(t, copied.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = copied.Wait() }) // it ends with its input
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	must(t, w.unpublish(ctx, b))
	soon, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	must(t, w.unstage(soon, b))
	must(t, w.delete(ctx, b))
}
