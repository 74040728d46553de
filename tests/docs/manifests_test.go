package docs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/all"
	"github.com/diskbridge/diskbridge/pkg/volume"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// object is what of a Kubernetes object names us.
type object struct {
	APIVersion  string            `yaml:"apiVersion"`
	Kind        string            `yaml:"kind"`
	Provisioner string            `yaml:"provisioner"`
	Driver      string            `yaml:"driver"`
	DriverName  string            `yaml:"driverName"`
	Parameters  map[string]string `yaml:"parameters"`
	Spec        struct {
		CSI *struct {
			Driver       string `yaml:"driver"`
			VolumeHandle string `yaml:"volumeHandle"`
		} `yaml:"csi"`
	} `yaml:"spec"`
}

func TestManifests_NameWhatExists(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "manifests", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range files {
		for _, o := range read(t, file) {
			seen[o.Kind]++
			if o.APIVersion == "" || o.Kind == "" {
				t.Errorf("%s: an object without apiVersion or kind", file)
			}
			var kind backend.Kind
			for _, driver := range []string{o.Provisioner, o.Driver, o.DriverName} {
				if driver == "" {
					continue
				}
				if kind = kindOf(driver); kind.Driver == "" {
					t.Errorf("%s: nobody serves driver %q", file, driver)
				}
			}
			declared := map[string]backend.Parameters{
				"StorageClass": kind.Parameters, "VolumeSnapshotClass": kind.SnapshotParameters, "VolumeAttributesClass": kind.MutableParameters,
			}[o.Kind]
			if _, err := declared.Decode(o.Parameters); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if pv := o.Spec.CSI; pv != nil {
				if h, err := volume.ParseHandle(pv.VolumeHandle); err != nil || kindOf(pv.Driver).Name != h.Kind {
					t.Errorf("%s: driver %q, handle: %v", file, pv.Driver, err)
				}
			}
		}
	}
	for _, kind := range []string{"StorageClass", "PersistentVolumeClaim", "Pod", "VolumeSnapshotClass", "VolumeSnapshot", "PersistentVolume", "VolumeAttributesClass"} {
		if seen[kind] == 0 {
			t.Errorf("there is no example of a %s", kind)
		}
	}
}

// kindOf is the kind that a driver name serves, or an empty one.
func kindOf(driver string) backend.Kind {
	for _, k := range all.Kinds() {
		if k.Driver == driver {
			return k
		}
	}
	return backend.Kind{}
}

func read(t *testing.T, file string) []object {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o object
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, o)
	}
}

// TestUnits_UseFlagsThatExist compares the systemd units with what the driver says.
func TestUnits_UseFlagsThatExist(t *testing.T) {
	for _, mode := range []string{"controller", "node", "mounter"} {
		unit, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "systemd", "diskbridge-"+mode+".service"))
		if err != nil {
			t.Fatal(err)
		}
		start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/diskbridge-csi (\w+) (.*)$`).FindStringSubmatch(string(unit))
		if start == nil || start[1] != mode {
			t.Fatalf("%s: no ExecStart of that mode", mode)
		}
		if !strings.Contains(string(unit), "\nStartLimitIntervalSec=0\n") || !regexp.MustCompile(`(?m)^RestartSec=\d+$`).Match(unit) {
			t.Errorf("%s: systemd gives it up while instance metadata or a disk is not there yet", mode)
		}
		known := help(t, "diskbridge-csi "+mode)
		for _, word := range strings.Fields(start[2]) {
			name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
			if !regexp.MustCompile(`(?m)^\s*-{1,2}` + name + `\b`).MatchString(known) {
				t.Errorf("%s: diskbridge-csi %s has no flag --%s", mode, mode, name)
			}
		}
	}
}

// TestDockerfile_FollowsTheProject: the image is built by the Makefile, holds what .ci/install installs, and the
// controller is not root. The linter has the rest.
func TestDockerfile_FollowsTheProject(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split(string(text), "\nFROM ")
	if len(stages) != 5 || !strings.Contains(stages[1], "\nRUN make build\n") {
		t.Fatal("expected four stages, the first of which runs `make build`")
	}
	if !strings.Contains(stages[2], "AS controller") || !strings.Contains(stages[2], "\nUSER 65532:65532\n") || strings.Contains(stages[2], "\nRUN ") {
		t.Error("the controller's stage must not be root and must not run anything")
	}
	if !strings.Contains(stages[0], "\nARG DEBIAN=trixie\n") || !strings.HasPrefix(stages[4], "debian:${DEBIAN}-slim AS node\n") {
		t.Error("the node's stage must be on Debian 13, whose e2fsck knows what its mkfs makes, and on 12 where asked for")
	}
	script, err := os.ReadFile(filepath.Join(harness.Root(t), ".ci", "install"))
	if err != nil {
		t.Fatal(err)
	}
	node, _, _ := strings.Cut(string(script), "case $goal in")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^need \S+ (\S+)`).FindAllStringSubmatch(node, -1) {
		want = append(want, m[1])
	}
	got := regexp.MustCompile(`--no-install-recommends ([a-z0-9 -]+)`).FindStringSubmatch(stages[4])
	if got == nil || len(want) < 4 {
		t.Fatal("no list of packages")
	}
	have := strings.Fields(got[1])
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the node's image has %v, the node needs %v", have, want)
	}
}
