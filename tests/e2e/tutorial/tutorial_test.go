// Package tutorial plays the reader of docs/tutorials/local-cluster.md, and one who has no patience; it knows what a cluster
// must not leave on the machine.
package tutorial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

const limit = 5 * time.Minute

// reader is who sits at the machine.
type reader struct {
	*testing.T
	paths cluster.Paths
}

func read(t *testing.T) reader {
	t.Helper()
	paths, err := cluster.FindPaths()
	if err != nil {
		t.Fatal(err)
	}
	r := reader{t, paths}
	t.Cleanup(func() {
		if pid, ok := paths.Owner(); ok {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := paths.Sweep(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// types runs a command line.
func (r reader) types(line string) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = r.paths.Root
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("%s: %v\n%s", line, err, out)
	}
	r.Logf("%s\n%s", line, out)
}

// nothing fails if anything of the cluster is left on the machine.
func (r reader) nothing() {
	r.Helper()
	loops, err := r.paths.Loops()
	if err != nil || len(loops) > 0 {
		r.Errorf("loop devices are left: %v, %v", loops, err)
	}
	groups, err := r.paths.Cgroups()
	if err != nil || len(groups) > 0 {
		r.Errorf("control groups are left: %v, %v", groups, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), r.paths.Run) {
		r.Errorf("mounts are left: %v\n%s", err, mounts)
	}
	// Every process of the cluster has the path of the run folder, or of Kubernetes' programs, in its command line.
	for _, pid := range processes(r.paths.Kube) {
		r.Errorf("process %s is left", pid)
	}
}

func processes(of string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), of+"/") {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// TestTutorial types every command of the page, in order.
func TestTutorial(t *testing.T) {
	r := read(t)
	page, err := os.ReadFile(filepath.Join(r.paths.Root, "docs/tutorials/local-cluster.md"))
	if err != nil {
		t.Fatal(err)
	}
	typed := 0
	for line := range strings.Lines(string(page)) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			r.types(strings.TrimSpace(command))
			typed++
		}
	}
	if typed < 8 {
		t.Errorf("the page has %d commands", typed)
	}
	r.nothing()
}

// TestKilled kills everything's parent while pods use volumes, one of them as a raw device.
func TestKilled(t *testing.T) {
	r := read(t)
	r.types("make cluster-up")
	const kubectl = "bin/cluster/kubectl.sh "
	r.types(kubectl + "apply -f manifests/pod-ebs.yaml -f manifests/block-ebs.yaml")
	r.types(kubectl + "wait pod/writer pod/raw-writer --for=condition=Ready --timeout=3m")
	if loops, err := r.paths.Loops(); err != nil || len(loops) != 3 {
		t.Errorf("loop devices %v, %v; want two of volumes and one of kubelet", loops, err)
	}
	pid, ok := r.paths.Owner()
	if !ok {
		t.Fatal("nobody holds the cluster")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := cluster.Until(ctx, "all processes end with "+strconv.Itoa(pid), func(context.Context) error {
		if left := processes(r.paths.Kube); len(left) > 0 {
			return errors.New(fmt.Sprint(left))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.types("make cluster-down")
	r.nothing()
}
