// Package deps proves the project's layering: who imports whom, and what the linker kept. It must not know what the code does.
package deps

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/diskbridge/diskbridge/"

// layers says which packages of ours a package may import, and which foreign modules only it and few others may.
// The longest prefix that matches counts. A package without a row fails the test: decide where it belongs.
var layers = map[string]layer{
	"pkg/fault":   {why: "the vocabulary is plain data", stdOnly: true},
	"pkg/volume":  {why: "the vocabulary is plain data", stdOnly: true},
	"pkg/limits":  {why: "it is arithmetic on a table", stdOnly: true},
	"pkg/version": {why: "it only reads build info", stdOnly: true},

	"pkg/backend":             {ours: []string{"pkg/fault", "pkg/volume"}, why: "the interfaces know no implementation"},
	"pkg/backend/backendtest": {ours: []string{"pkg/backend", "pkg/fault", "pkg/volume"}, why: "the suite fits any backend"},
	"pkg/backend/all":         {ours: []string{"pkg/backend", "pkg/cloud", "pkg/config", "pkg/fault", "pkg/volume"}, why: "it only lists the kinds"},
	"pkg/backend/ebs":         {ours: []string{"pkg/backend", "pkg/cloud", "pkg/fault", "pkg/limits", "pkg/volume"}, why: "a kind knows its cloud, no other kind and no front door"},

	"pkg/backend/efs": {ours: []string{"pkg/backend", "pkg/cloud", "pkg/fault", "pkg/volume"}, why: "a kind knows its cloud, no other kind and no front door"},
	"pkg/backend/s3":  {ours: []string{"pkg/backend", "pkg/cloud", "pkg/fault", "pkg/volume"}, why: "a kind knows its cloud, no other kind and no front door"},

	"pkg/cloud":   {ours: []string{"pkg/cloud", "pkg/fault"}, foreign: []string{aws}, why: "a client does not know who uses it"},
	"pkg/config":  {ours: []string{"pkg/backend", "pkg/fault", "pkg/volume"}, why: "settings are data about declared kinds"},
	"pkg/observe": {ours: []string{"pkg/fault", "pkg/version"}, foreign: []string{grpc}, why: "it sees kinds of failure, not what failed"},
	"pkg/broker":  {ours: []string{"pkg/backend", "pkg/fault", "pkg/observe", "pkg/volume"}, why: "it serves both front doors and any backend"},
	"pkg/mount":   {ours: []string{"pkg/mount", "pkg/directory", "pkg/fault", "pkg/volume"}, why: "the node executes a plan and knows no backend"},
	"pkg/janitor": {ours: []string{"pkg/fault", "pkg/volume"}, why: "it knows neither the cloud nor how something is mounted"},
	"pkg/csi":     {ours: []string{"pkg/backend", "pkg/broker", "pkg/fault", "pkg/mount", "pkg/observe", "pkg/socket", "pkg/version", "pkg/volume"}, foreign: []string{csi, grpc}, why: "a front door goes through the broker"},
	"pkg/cpi":     {ours: []string{"pkg/backend", "pkg/broker", "pkg/fault", "pkg/observe", "pkg/version", "pkg/volume"}, why: "a front door goes through the broker"},

	"pkg/kube":         {ours: []string{"pkg/fault", "pkg/kube"}, foreign: []string{kube}, why: "it alone talks to Kubernetes' API, and knows nothing else"},
	"pkg/directory":    {ours: []string{"pkg/fault", "pkg/volume"}, why: "it works on a mounted root, whoever mounted it"},
	"pkg/mounter":      {ours: []string{"pkg/fault", "pkg/socket", "pkg/volume"}, why: "it keeps what mounts need, and mounts nothing"},
	"pkg/resign":       {ours: []string{"pkg/socket"}, foreign: []string{aws}, why: "it signs, and knows neither what is mounted nor whose credentials they are"},
	"pkg/objectmount":  {ours: []string{"pkg/fault", "pkg/mount", "pkg/volume"}, why: "it mounts buckets, whoever asks, wherever they are"},
	"pkg/socket":       {foreign: []string{grpc}, why: "it owns sockets, not what is said on them"},
	"pkg/registration": {ours: []string{"pkg/fault", "pkg/socket"}, foreign: []string{grpc}, why: "it tells kubelet where the plugin is, and knows nothing else of it"},

	"pkg/emulator": {ours: []string{"pkg/emulator"}, foreign: []string{aws}, why: "the emulator is an independent judge"},

	"cmd/aws-emulator":       {ours: []string{"pkg/emulator", "pkg/version", "cmd/diskbridge/machine/inside"}, why: "it wires the emulator, and the kernel's NFS servers"},
	"cmd/diskbridge":         {ours: []string{"cmd/diskbridge", "pkg/version"}, foreign: []string{csi, grpc}, why: "the demo is a CSI client and sees what Kubernetes sees"},
	"cmd/diskbridge/disks":   {ours: []string{"pkg"}, not: []string{"pkg/cpi", "pkg/csi", "pkg/mount", "pkg/emulator"}, why: "it is the engine in an operator's hands"},
	"cmd/diskbridge-csi":     {ours: []string{"pkg"}, not: []string{"pkg/cpi", "pkg/emulator"}, foreign: []string{aws, grpc}, why: "it wires one front door"},
	"cmd/diskbridge-cpi":     {ours: []string{"pkg"}, not: []string{"pkg/csi", "pkg/mount", "pkg/emulator"}, foreign: []string{aws}, why: "it wires the other front door"},
	"cmd/diskbridge/machine": {why: "it makes machines and knows nothing of what is done inside", ours: []string{"cmd/diskbridge/machine"}},

	"tests/bench":       {ours: []string{"cmd/diskbridge/sandbox", "pkg/emulator"}, foreign: []string{aws, csi, grpc}, why: "it measures any driver from outside"},
	"tests/conformance": {ours: []string{"tests/lane", "cmd/diskbridge/sandbox", "pkg/emulator"}, foreign: []string{aws}, why: "it judges the emulator by AWS's own client"},
	"tests/lane":        {stdOnly: true, why: "programs that test share it, whatever they test"},
	"tests/cgroups":     {ours: []string{"tests/lane", "cmd/diskbridge/machine", "pkg/mounter", "pkg/volume"}, why: "it asks the mounter as a node plugin does, and sees what the kernel shows"},
	"tests/kernels":     {ours: []string{"tests/lane", "cmd/diskbridge/machine"}, why: "it makes a machine and knows nothing of what is tested in it"},
	"tests/nfs":         {ours: []string{"tests/nfs", "tests/lane", "cmd/diskbridge/machine", "cmd/diskbridge/sandbox"}, foreign: []string{aws, csi, grpc}, why: "it is a CSI client and sees what the kubelet sees"},
	"tests/nvme":        {ours: []string{"tests/nvme", "tests/lane", "cmd/diskbridge/machine"}, foreign: []string{csi, grpc}, why: "it is a CSI client and sees what the kubelet sees"},

	"tests": {ours: []string{"cmd", "pkg", "tests"}, foreign: []string{aws, csi, grpc}, why: "tests see everything"},
}

type layer struct {
	ours, not []string // prefixes of packages of this module
	foreign   []string // guarded modules that it may use
	stdOnly   bool
	why       string
}

// Guarded modules: their types stay in the packages whose row names them.
const (
	aws  = "github.com/aws/"
	csi  = "github.com/container-storage-interface/"
	grpc = "google.golang.org/grpc"
	kube = "k8s.io/client-go"
)

// forbidden are imports that nothing in a shipped binary may have, however deep, and why.
var forbidden = map[string]string{
	"text/template":                "it calls methods by name, so the linker keeps all of EC2's",
	"html/template":                "it calls methods by name, so the linker keeps all of EC2's",
	"k8s.io/client-go/kubernetes":  "a clientset costs 18 MB of memory; pkg/kube talks REST",
	"k8s.io/client-go/informers":   "an informer keeps all objects of a cluster",
	"k8s.io/client-go/tools/cache": "an informer keeps all objects of a cluster",
	"github.com/rogpeppe":          "it is a test's",
	"github.com/onsi":              "it is a test's",
	"testing":                      "it is a test's",
	"golang.org/x/tools":           "it is a test's",
	"github.com/google/go-cmp":     "it is a test's",
}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// list asks the go command about packages and all that they need, without tests.
func list(t *testing.T, patterns ...string) []pkg {
	t.Helper()
	args := append([]string{"list", "-deps", "-tags", "grpcnotrace", "-json=ImportPath,Standard,Imports"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports_KeepTheirLayers(t *testing.T) {
	standard := map[string]bool{}
	all := list(t, "./...")
	for _, p := range all {
		standard[p.ImportPath] = p.Standard
	}
	checked := 0
	for _, p := range all {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		checked++
		row, ok := layerOf(name)
		if !ok {
			t.Errorf("%s belongs to no layer: add a row for it to layers", name)
			continue
		}
		for _, imported := range p.Imports {
			if !row.allows(name, imported, standard[imported]) {
				t.Errorf("%s must not import %s: %s", name, imported, row.why)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d packages were looked at", checked)
	}
}

func layerOf(name string) (layer, bool) {
	for prefix := name; prefix != "."; {
		if row, ok := layers[prefix]; ok {
			return row, true
		}
		cut := strings.LastIndex(prefix, "/")
		if cut < 0 {
			break
		}
		prefix = prefix[:cut]
	}
	return layer{}, false
}

func (l layer) allows(from, imported string, standard bool) bool {
	under := func(prefixes []string, name string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool {
			return name == prefix || strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")+"/")
		})
	}
	if name, ours := strings.CutPrefix(imported, module); ours {
		// A row with a prefix like pkg/backend allows the interfaces, not the kinds below it.
		if kind := strings.HasPrefix(name, "pkg/backend/"); kind {
			return strings.HasPrefix(from, "cmd/") || strings.HasPrefix(from, "tests/") || from == "pkg/backend/all"
		}
		return under(l.ours, name) && !under(l.not, name)
	}
	if imported == "flag" { // pkg/config declares flags, cmd reads them
		return strings.HasPrefix(from, "cmd/") || strings.HasPrefix(from, "tests/") || from == "pkg/config"
	}
	for _, guarded := range []string{aws, csi, grpc, kube} {
		if strings.HasPrefix(imported, guarded) {
			return slices.Contains(l.foreign, guarded)
		}
	}
	return standard || !l.stdOnly
}

// TestImports_TheRulesCanFail feeds the rules what they must refuse.
func TestImports_TheRulesCanFail(t *testing.T) {
	for _, tc := range []struct{ from, imported string }{
		{"pkg/volume", "github.com/google/uuid"},
		{"pkg/backend/ebs", module + "pkg/backend/s3"},
		{"pkg/backend/ebs", "github.com/aws/aws-sdk-go-v2/service/ec2"},
		{"pkg/broker", "google.golang.org/grpc/codes"},
		{"pkg/csi", module + "pkg/cloud/ec2"},
		{"pkg/mount", module + "pkg/backend"},
		{"pkg/emulator/ec2", module + "pkg/fault"},
		{"cmd/diskbridge/demo", module + "pkg/mount"},
		{"pkg/broker", "flag"},
		{"pkg/csi", "k8s.io/client-go/rest"},
	} {
		row, ok := layerOf(tc.from)
		if !ok || row.allows(tc.from, tc.imported, false) {
			t.Errorf("%s may import %s, but must not", tc.from, tc.imported)
		}
	}
	if _, ok := layerOf("pkg/novelty"); ok {
		t.Error("a package that nobody placed has a layer")
	}
}

func TestImports_NothingForbiddenIsShipped(t *testing.T) {
	for _, binary := range []string{"diskbridge-csi", "diskbridge-cpi"} {
		t.Run(binary, func(t *testing.T) {
			importers := map[string][]string{}
			for _, p := range list(t, "./cmd/"+binary) {
				for _, imported := range p.Imports {
					importers[imported] = append(importers[imported], p.ImportPath)
				}
			}
			for imported, by := range importers {
				for prefix, why := range forbidden {
					if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
						t.Errorf("%s links %s through %s: %s", binary, imported, strings.Join(by, ", "), why)
					}
				}
			}
		})
	}
}
