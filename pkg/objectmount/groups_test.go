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

// TestView_Open finds the group, or says why there is none. That the kernel lets it be divided is `make test-cgroups`' to show.
func TestView_Open(t *testing.T) {
	const pod = "0::/kubepods/pod1/container\n"
	for name, tc := range map[string]struct {
		self, first   string
		base, refused string
		files         groupFiles
	}{
		"version 1":                      {"4:memory:/pod/x\n0::/\n", "", "memory/pod/x", "", version1},
		"version 1 in a container":       {"4:memory:/elsewhere\n", "", "memory", "", version1},
		"version 2 beside version 1":     {"4:memory:/pod/x\n0::/system.slice/m.service\n", "", "memory/pod/x", "", version1},
		"version 2 first, as it may be":  {"0::/\n4:memory:/pod/x\n", "", "memory/pod/x", "", version1},
		"delegated by systemd":           {"0::/system.slice/m.service/mounter\n", "0::/init.scope\n", "system.slice/m.service", "", version2},
		"systemd's, and not delegated":   {"0::/system.slice/m.service\n", "0::/init.scope\n", "", "not delegated", groupFiles{}},
		"nobody knows process 1":         {"0::/system.slice/m.service\n", "", "", "not delegated", groupFiles{}},
		"beside others in a container":   {"0::/kubepods/pod1/shared\n", "0::/kubepods/pod1/shared\n", "", "processes of others", groupFiles{}},
		"another's process 1":            {pod, "0::/kubepods/pod1/pause\n", "", "not delegated", groupFiles{}},
		"the true root":                  {"0::/\n", "0::/\n", "", "root of all control groups", groupFiles{}},
		"another hierarchy":              {"0::/elsewhere\n", "0::/elsewhere\n", "", "another hierarchy", groupFiles{}},
		"a group that nobody can see":    {"0::/../outside\n", "", "", "no such file", groupFiles{}},
		"no memory to be divided at all": {"1:cpu:/\n", "", "", "no control group for memory", groupFiles{}},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			folder(t, filepath.Join(root, "memory/pod/x"))
			for dir, pids := range map[string]string{
				"": "7\n", "system.slice/m.service": "7\n", "system.slice/m.service/mounter": "7\n", "kubepods/pod1/container": "7\n", "kubepods/pod1/shared": "7\n0\n", "elsewhere": "8\n",
			} {
				folder(t, filepath.Join(root, dir), "cgroup.subtree_control")
				if dir != "" {
					folder(t, filepath.Join(root, dir), "cgroup.type")
				}
				if err := os.WriteFile(filepath.Join(root, dir, "cgroup.procs"), []byte(pids), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			g, err := view{root, 7, tc.self, tc.first}.open(1 << 20)
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("got %v, want %q", err, tc.refused)
				}
				if made, _ := filepath.Glob(filepath.Join(root, "kubepods/*/*/mounter")); len(made) > 0 {
					t.Errorf("it made %v", made)
				}
				return
			}
			if err != nil || g.base != filepath.Join(root, tc.base) || g.files != tc.files {
				t.Errorf("got %+v (%v)", g, err)
			}
		})
	}
}

func TestGroups_Put(t *testing.T) {
	for name, tc := range map[string]struct {
		files groupFiles
		make  []string
		want  map[string]string
	}{
		"version 2":                     {version2, []string{"memory.max", "memory.swap.max"}, map[string]string{"memory.max": "67108864", "memory.swap.max": "0"}},
		"version 2 that has no swap":    {version2, []string{"memory.max"}, map[string]string{"memory.max": "67108864"}},
		"version 1":                     {version1, []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}, map[string]string{"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864"}},
		"version 1 that counts no swap": {version1, []string{"memory.limit_in_bytes"}, map[string]string{"memory.limit_in_bytes": "67108864"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := &groups{base: t.TempDir(), files: tc.files, bytes: 64 << 20}
			folder(t, g.dir("a"), append(tc.make, "cgroup.procs")...)
			if err := g.put("a", 42); err != nil {
				t.Fatal(err)
			}
			tc.want["cgroup.procs"] = "42"
			for file, want := range tc.want {
				if got, err := os.ReadFile(filepath.Join(g.dir("a"), file)); err != nil || !strings.HasSuffix(string(got), want) {
					t.Errorf("%s holds %q (%v), want %q", file, got, err, want)
				}
			}
		})
	}
	if err := (*groups)(nil).put("a", 42); err != nil {
		t.Error(err)
	}
}

func TestGroups_Kills(t *testing.T) {
	for text, want := range map[string]int64{
		"low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 1\n": 2,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n":                3,
		"oom_kill_disable 0\nunder_oom 0\n":                            0,
		"":                                                             0,
	} {
		g := &groups{base: t.TempDir(), files: version2}
		folder(t, g.dir("a"))
		if err := os.WriteFile(filepath.Join(g.dir("a"), "memory.events"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := g.kills("a"); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if n := (*groups)(nil).kills("a"); n != 0 {
		t.Errorf("without groups: %d", n)
	}
}
