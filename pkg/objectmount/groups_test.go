package objectmount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder makes files with nothing in them, as the kernel does in a control group.
func folder(t *testing.T, dir string, files ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenGroups(t *testing.T) {
	for name, tc := range map[string]struct {
		self, base, limit, refused string
	}{
		"version 1":                       {"4:memory:/pod/x\n0::/\n", "memory/pod/x", "memory.limit_in_bytes", ""},
		"version 1 in a container":        {"4:memory:/elsewhere\n", "memory", "memory.limit_in_bytes", ""},
		"a container's root":              {"0::/\n", ".", "memory.max", ""},
		"delegated by systemd":            {"0::/system.slice/m.service/mounter\n", "system.slice/m.service", "memory.max", ""},
		"systemd's, and not delegated":    {"0::/system.slice/m.service\n", "", "", "not delegated"},
		"no memory to be divided at all":  {"1:cpu:/\n", "", "", "no control group for memory"},
		"version 2 beside version 1":      {"4:memory:/pod/x\n0::/system.slice/m.service\n", "memory/pod/x", "memory.limit_in_bytes", ""},
		"version 2 first, as it may come": {"0::/\n4:memory:/pod/x\n", "memory/pod/x", "memory.limit_in_bytes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			folder(t, filepath.Join(root, "memory/pod/x"))
			folder(t, root, "cgroup.subtree_control")
			folder(t, filepath.Join(root, "mounter"), "cgroup.procs")
			folder(t, filepath.Join(root, "system.slice/m.service"), "cgroup.subtree_control")
			g, err := openGroups(root, tc.self, 7, 1<<20)
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("got %v, want %q", err, tc.refused)
				}
				return
			}
			if err != nil || g.base != filepath.Join(root, tc.base) || g.limit != tc.limit {
				t.Errorf("got %+v (%v)", g, err)
			}
		})
	}
}

func TestGroups_Put(t *testing.T) {
	g := &groups{base: t.TempDir(), limit: "memory.max", bytes: 64 << 20}
	folder(t, g.dir("a"), "memory.max", "cgroup.procs")
	if err := g.put("a", 42); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "67108864", "cgroup.procs": "42"} {
		if got, err := os.ReadFile(filepath.Join(g.dir("a"), file)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", file, got, err, want)
		}
	}
	if err := (*groups)(nil).put("a", 42); err != nil {
		t.Error(err)
	}
}
