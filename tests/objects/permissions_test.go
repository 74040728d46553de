package objects

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFilesHaveTheirOwnPermissions mounts a volume of a class with permissions=file: chmod and chown do what they say, also on
// another mount, and others are kept out.
func TestFilesHaveTheirOwnPermissions(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "own", map[string]string{"permissions": "file"})
	w.mount(ctx, b)
	must(t, os.Chmod(w.dir, 0o755)) // so that other users come to the bucket
	file, program := filepath.Join(b.target, "key"), filepath.Join(b.target, "program")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o644))
	if err := ownership(ctx, written(t, file)); err != nil {
		t.Error(err)
	}
	must(t, os.Mkdir(filepath.Join(b.target, "closed"), 0o700))
	w.unmount(ctx, b)
	w.mount(ctx, b)
	for name, tc := range map[string]struct {
		uid  uint32
		args []string
		ok   bool
	}{
		"the owner reads":         {1234, []string{"cat", file}, true},
		"another does not":        {5678, []string{"cat", file}, false},
		"nor write":               {5678, []string{"cp", "/dev/null", file}, false},
		"nor take it":             {5678, []string{"chown", "5678", file}, false},
		"nor list what is root's": {5678, []string{"ls", filepath.Join(b.target, "closed")}, false},
		"no bit, no program":      {0, []string{program}, false},
		"a user's own file":       {5678, []string{"mkdir", filepath.Join(b.target, "mine")}, true},
	} {
		if err := runAs(ctx, tc.uid, tc.args...); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	st, err := os.Stat(filepath.Join(b.target, "mine"))
	must(t, err)
	if owner, ok := st.Sys().(*syscall.Stat_t); !ok || owner.Uid != 5678 {
		t.Errorf("what user 5678 made has %+v", owner)
	}
	w.remove(ctx, b)
}

// written writes a file with a text.
func written(t *testing.T, path string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte("text"), 0o640))
	return path
}

// runAs runs a program as a user of no group but its own.
func runAs(ctx context.Context, uid uint32, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = errors.Join(err, fmt.Errorf("%s", out))
	}
	return err
}
