package sandbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it mounts and attaches, which needs root")
	}
}

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start("the script", "/bin/sh", []string{"-c", script}, []string{"PATH=" + os.Getenv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestProcess_Stop(t *testing.T) {
	t.Run("one that ends well when asked", func(t *testing.T) {
		p := start(t, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done")
		if line, err := p.out.firstLine(soon(t)); err != nil || line != "ready" {
			t.Fatalf("first line %q, %v", line, err)
		}
		if err := p.Stop(soon(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("one that ended badly before", func(t *testing.T) {
		p := start(t, "echo why >&2; exit 3")
		<-p.Done()
		if err := p.Stop(soon(t)); err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("Stop = %v, want its exit status", err)
		}
		if p.Tail(1) != "why" {
			t.Errorf("Tail = %q", p.Tail(1))
		}
	})
	t.Run("one that does not listen is killed", func(t *testing.T) {
		p := start(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
		if _, err := p.out.firstLine(soon(t)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(soon(t))
		cancel()
		if err := p.Stop(ctx); err == nil || !strings.Contains(err.Error(), "was killed") {
			t.Errorf("Stop = %v", err)
		}
	})
}

func TestProcess_SeesOnlyTheGivenEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	p := start(t, "env >&2")
	<-p.Done()
	if strings.Contains(p.Log(), "hunter2") {
		t.Error("a child sees credentials of this process")
	}
}

func TestProcess_WaitingEndsWithIt(t *testing.T) {
	p := start(t, "echo no luck >&2; exit 1")
	ctx, cancel := p.watch(soon(t))
	defer cancel()
	if _, err := p.out.firstLine(ctx); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("waiting ended with %v, want what the process said", err)
	}
}

func TestOutput_KeepsTheEnd(t *testing.T) {
	var o Output
	for range 3 {
		if _, err := o.Write([]byte(strings.Repeat("x", maxOutput/2))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	if text := o.String(); len(text) != maxOutput || !strings.HasSuffix(text, "the end") {
		t.Errorf("kept %d bytes", len(text))
	}
}

func TestMounts_FindsAndRemovesWhatIsBelow(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	point, outside := filepath.Join(dir, "a b"), dir+"-beside"
	for _, d := range []string{point, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", d, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(d, unix.MNT_DETACH) }) // the test itself unmounts one of them
	}
	if got, err := Mounts(dir); err != nil || len(got) != 1 || got[0] != point {
		t.Fatalf("Mounts = %q, %v; want only %q", got, err, point)
	}
	kept := filepath.Join(point, "kept")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTree(dir); err == nil || !strings.Contains(err.Error(), "still mounted") {
		t.Errorf("RemoveTree = %v, want a refusal", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("RemoveTree reached through a mount: %v", err)
	}
	if err := UnmountAll(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := Mounts(dir); err != nil || len(got) != 0 {
		t.Errorf("after UnmountAll: %q, %v", got, err)
	}
	if got, err := Mounts(outside); err != nil || len(got) != 1 {
		t.Errorf("UnmountAll reached beyond its folder: %q, %v", got, err)
	}
	if err := RemoveTree(dir); err != nil {
		t.Error(err)
	}
}

func TestLoops_FindsAndDetachesWhatIsBelow(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "disk")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "exec losetup -f "+file)
	<-p.Done()
	t.Cleanup(func() { _ = DetachLoops(dir) }) // the test itself detaches it
	loops, err := Loops(dir)
	if err != nil || len(loops) != 1 || loops[0].Backing != file {
		t.Fatalf("Loops = %v, %v; losetup said %q", loops, err, p.Log())
	}
	if none, err := Loops(dir + "-beside"); err != nil || len(none) != 0 {
		t.Errorf("a loop device of another folder: %v, %v", none, err)
	}
	if err := DetachLoops(dir); err != nil {
		t.Fatal(err)
	}
	if loops, err := Loops(dir); err != nil || len(loops) != 0 {
		t.Errorf("after DetachLoops: %v, %v", loops, err)
	}
}
