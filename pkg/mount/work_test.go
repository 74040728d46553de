package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestBlock_AHangingToolDoesNotHangTheCall(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b := newBlock(n)
	dir := t.TempDir()
	resume := filepath.Join(dir, "resume")
	script := "#!/bin/sh\nwhile [ ! -e " + resume + " ]; do sleep 0.05; done\nexec /usr/sbin/mkfs.ext4 \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(dir, "mkfs.ext4"), []byte(script), 0o700))
	b.tools.dirs = append([]string{dir}, b.tools.dirs...)

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	wantKind(t, b.Stage(ctx, fresh(volume.Ext4), n.Mkdir("staging")), fault.Pending, "mkfs.ext4 has been working on ", "nvme1n1 for")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the call took %v", took)
	}
	t.Run("meanwhile nobody else works on the volume", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wantKind(t, b.Stage(ctx, fresh(volume.Ext4), n.Path("staging")), fault.Pending, "mkfs.ext4 has been working", "retry")
		if w := b.keep.writing(); len(w) != 1 || !strings.Contains(w[0], "mkfs.ext4") {
			t.Errorf("writing are %q", w)
		}
		wantKind(t, b.Drain(ctx), fault.Pending)
	})
	t.Run("what it began is finished and found", func(t *testing.T) {
		write(t, resume, "")
		must(t, b.Drain(t.Context()))
		plan := fresh(volume.Ext4)
		plan.MayFormat = false
		must(t, b.Stage(t.Context(), plan, n.Path("staging")))
	})
}

func TestBlock_ConcurrentCallsForOneVolume(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, staging, target := newBlock(n), n.Mkdir("staging"), n.Path("target")
	each := func(call func() error) {
		t.Helper()
		results := make(chan error)
		for range 6 {
			go func() { results <- call() }()
		}
		for range 6 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	}
	each(func() error { return b.Stage(t.Context(), fresh(volume.XFS), staging) })
	each(func() error { return b.Publish(t.Context(), fresh(volume.XFS), staging, target, false) })
	if s, p := mountsAt(t, staging), mountsAt(t, target); s != 1 || p != 1 {
		t.Errorf("%d mounts at the staging path and %d at the target", s, p)
	}
	each(func() error { return b.Unpublish(t.Context(), handle, target) })
	each(func() error { return b.Unstage(t.Context(), handle, staging) })
	must(t, b.Drain(t.Context()))
}

func TestToolbox_ErrorsCarryExitCodeAndOutput(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho \"$LC_ALL $HOME $1\" >&2; exit 3\n"), 0o700))
	t.Setenv("HOME", "/secret")
	tools, k := toolbox{dirs: []string{dir}}, keeper{tasks: map[string]*task{}}
	task, err := k.begin(t.Context(), "x")
	must(t, err)
	defer task.end()
	_, err = tools.read(t.Context(), task, "tool", "$(id); rm -rf")
	var tool *ToolError
	if !errors.As(err, &tool) || tool.ExitCode != 3 || tool.Output != "C  $(id); rm -rf" {
		t.Errorf("got %#v", err)
	}
	_, err = tools.read(t.Context(), task, "absent")
	wantKind(t, err, fault.Unsupported, "absent", "install")
}

func TestXfsFeatures(t *testing.T) {
	for _, tc := range []struct{ name, kernel, tools, want string }{
		{"a new kernel takes all", "6.18.1", "6.13.0", ""},
		{"old tools make nothing new", "5.4.0-1", "5.4.0", ""},
		{"Amazon Linux 2 with new tools", "5.10.200-180.amzn2", "6.13.0", "-i nrext64=0 -i exchange=0 -n parent=0"},
		{"a very old kernel", "4.19", "6.1.0", "-m bigtime=0,inobtcount=0 -i nrext64=0"},
		{"an unknown kernel is taken for old", "?", "6.1.0", "-m bigtime=0,inobtcount=0 -i nrext64=0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := strings.Join(xfsFeatures(tc.kernel, tc.tools), " "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
