package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cppforlife/go-patch/patch"
	"github.com/google/go-cmp/cmp"
	yamlv2 "gopkg.in/yaml.v2"
	"sigs.k8s.io/yaml"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// group is the director's instance group as create-env reads it.
type group struct {
	Jobs []struct {
		Name, Release string
		Properties    any
	}
	Properties map[string]any
}

// manifest is a director's manifest after operations of ours, applied as the bosh CLI does: with its own library.
func manifest(t *testing.T, files ...string) (out struct {
	Releases []map[string]any
	Groups   []group `json:"instance_groups"`
	Provider any     `json:"cloud_provider"`
}) {
	t.Helper()
	var doc any
	yamlOfCLI(t, "testdata/director.yml", &doc)
	for _, file := range files {
		var definitions []patch.OpDefinition
		yamlOfCLI(t, filepath.Join(harness.Root(t), "manifests/bosh/ops", file), &definitions)
		ops, err := patch.NewOpsFromDefinitions(definitions)
		if err == nil {
			doc, err = ops.Apply(doc)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	text, err := yamlv2.Marshal(doc)
	if err == nil {
		err = yaml.Unmarshal(text, &out)
	}
	if err != nil || len(out.Groups) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// yamlOfCLI reads YAML as the bosh CLI does, whose library knows no other maps.
func yamlOfCLI(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yamlv2.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// properties are what a job's templates see: its own properties where it has any, and then nothing of the group's
// (bosh-cli, erb_renderer.rb; Directors do the same).
func (g group) properties(t *testing.T, job string) any {
	t.Helper()
	for _, j := range g.Jobs {
		switch {
		case j.Name != job:
		case j.Properties != nil:
			return j.Properties
		default:
			return g.Properties
		}
	}
	t.Fatalf("no job %s in %+v", job, g.Jobs)
	return nil
}

// TestOps_SwitchAndBack applies the ops files, and renders our job with what then is in the manifest.
func TestOps_SwitchAndBack(t *testing.T) {
	before, after := manifest(t), manifest(t, "diskbridge-cpi.yml")
	g := after.Groups[0]
	properties, err := json.Marshal(g.properties(t, "diskbridge_cpi"))
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if _, err := render(t, filepath.Join(harness.Root(t), job), out, string(properties)); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Cloud struct {
			Properties struct {
				AWS        map[string]any
				Diskbridge struct{ Delegate map[string]any }
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(out, "config/cpi.json"))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	p := config.Cloud.Properties
	if err != nil || p.AWS["access_key_id"] != "key-of-the-director" || p.AWS["secret_access_key"] != "secret-of-the-director" || p.AWS["region"] != "us-east-1" ||
		p.Diskbridge.Delegate["exec_path"] != "/var/vcap/jobs/aws_cpi/bin/cpi" {
		t.Errorf("%v; our job does not get the director's properties: %s", err, text)
	}
	if wrapper, err := os.ReadFile(filepath.Join(out, "bin/cpi")); err != nil || !strings.Contains(string(wrapper), "export HTTP_PROXY=http://proxy:3128") {
		t.Errorf("%v; our job does not get the director's proxy: %s", err, wrapper)
	}
	director, _ := g.Properties["director"].(map[string]any)
	if director["cpi_job"] != "diskbridge_cpi" || !strings.Contains(fmt.Sprint(director["cpi_additional_volumes"]), "path:/var/vcap/jobs/aws_cpi") {
		t.Errorf("the director: %v", director)
	}
	if diff := cmp.Diff(before.Provider, after.Provider); diff != "" || !strings.Contains(fmt.Sprint(after.Releases), "diskbridge-cpi") {
		t.Errorf("create-env must stay on the AWS CPI: %v\n%s", after.Releases, diff)
	}

	native := manifest(t, "diskbridge-cpi.yml", "native-disks.yml").Groups[0]
	if d, _ := native.Properties["director"].(map[string]any); d["enable_cpi_resize_disk"] != true || d["enable_cpi_update_disk"] != true || d["workers"] != 4.0 {
		t.Errorf("native disks: %v", d)
	}
	back := manifest(t, "diskbridge-cpi.yml", "back-to-aws-cpi.yml").Groups[0]
	if d, _ := back.Properties["director"].(map[string]any); d["cpi_job"] != "aws_cpi" {
		t.Errorf("the way back: %v", d)
	}
}

// TestManifests_WorkOnADirector renders every manifest on a director of bosh-deployment's shape, with its keys or with its
// instance's role, and asks the executable with what comes of it. A file that is none of those asked here fails.
func TestManifests_WorkOnADirector(t *testing.T) {
	root := harness.Root(t)
	e := harness.Emulator(t, harness.Dir(t), "--profile=instant", "--zones=us-east-1a")
	endpoints := map[string]any{"ec2": e.Endpoint, "imds": e.Instances[0].IMDS}
	var config struct {
		CPIs []struct{ Properties map[string]any } `json:"cpis"`
	}
	readYAML(t, filepath.Join(root, "manifests/bosh/cpi-config.yml"), &config)
	var comment bytes.Buffer
	example, err := os.ReadFile(filepath.Join(root, "manifests/bosh/cpi-config.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(example)) {
		if inner, ok := strings.CutPrefix(line, "#   "); ok {
			comment.WriteString(inner)
		}
	}
	role := map[string]any{}
	if err := yaml.Unmarshal(comment.Bytes(), &role); err != nil || len(role) != 3 {
		t.Fatalf("the example of a role: %v, %v", role, err)
	}
	manifests := map[string][]map[string]any{ // the contexts of calls
		"cpi-config.yml":          {config.CPIs[0].Properties, withAll(config.CPIs[0].Properties, role)},
		"cloud-config.yml":        {{}}, // TestManifests_NameWhatThereIs makes its disks
		"ops/diskbridge-cpi.yml":  {{}},
		"ops/native-disks.yml":    {{}},
		"ops/back-to-aws-cpi.yml": {{}},
	}
	for path, contexts := range manifests {
		for _, director := range []string{"static keys", "the instance's role"} {
			for i, context := range contexts {
				t.Run(fmt.Sprint(path, " ", i, ", ", director), func(t *testing.T) {
					ops := []string{"diskbridge-cpi.yml"}
					if op, ok := strings.CutPrefix(path, "ops/"); ok && op != ops[0] {
						ops = append(ops, op)
					}
					g := manifest(t, ops...).Groups[0]
					aws, _ := g.Properties["aws"].(map[string]any)
					if director == "static keys" {
						aws["access_key_id"], aws["secret_access_key"] = "test", "test"
					} else { // aws/iam-instance-profile.yml of bosh-deployment
						delete(aws, "access_key_id")
						delete(aws, "secret_access_key")
						aws["credentials_source"] = "env_or_profile"
					}
					own, _ := g.Properties["diskbridge"].(map[string]any)
					own["endpoints"] = endpoints
					properties, err := json.Marshal(g.properties(t, "diskbridge_cpi"))
					if err != nil {
						t.Fatal(err)
					}
					out := t.TempDir()
					if _, err := render(t, filepath.Join(root, job), out, string(properties)); err != nil {
						t.Fatal(err)
					}
					answer := ask(t, filepath.Join(out, "config/cpi.json"), "has_disk", withAll(context, map[string]any{"director_uuid": "d"}), "vol-00000000000000000")
					if !strings.HasPrefix(answer, `{"result":false,"error":null`) {
						t.Errorf("%s", answer)
					}
				})
			}
		}
	}
	folder := filepath.Join(root, "manifests/bosh")
	err = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(folder, path)
		if err == nil && !d.IsDir() && manifests[name] == nil {
			t.Errorf("no case of this test renders %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func withAll(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// ask runs the executable with a rendered configuration.
func ask(t *testing.T, config, method string, context map[string]any, arguments ...any) string {
	t.Helper()
	request, err := json.Marshal(map[string]any{"method": method, "arguments": arguments, "api_version": 3, "context": context})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(harness.Bin(t), "diskbridge-cpi"), "-config", config)
	cmd.Env, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, bytes.NewReader(request)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestManifests_NameWhatThereIs reads the examples and looks up what they name.
func TestManifests_NameWhatThereIs(t *testing.T) {
	root := harness.Root(t)
	var s spec
	readYAML(t, filepath.Join(root, job, "spec"), &s)
	var config struct {
		CPIs []struct {
			Type         string              `json:"type"`
			MigratedFrom []map[string]string `json:"migrated_from"`
			Properties   map[string]any      `json:"properties"`
		} `json:"cpis"`
	}
	readYAML(t, filepath.Join(root, "manifests/bosh/cpi-config.yml"), &config)
	if len(config.CPIs) == 0 || config.CPIs[0].Type+"_cpi" != s.Name || len(config.CPIs[0].MigratedFrom) != 1 {
		t.Errorf("the CPI config: %+v", config)
	}
	ours := append(leaves("diskbridge", manifest(t, "diskbridge-cpi.yml").Groups[0].Properties["diskbridge"]), leaves("diskbridge", config.CPIs[0].Properties["diskbridge"])...)
	for _, name := range ours {
		if _, ok := s.Properties[name]; !ok || len(ours) < 4 {
			t.Errorf("of %v, %s is no property of the job", ours, name)
		}
	}
	var cloud struct {
		DiskTypes []struct {
			Name       string         `json:"name"`
			Size       int            `json:"disk_size"`
			Properties map[string]any `json:"cloud_properties"`
		} `json:"disk_types"`
	}
	readYAML(t, filepath.Join(root, "manifests/bosh/cloud-config.yml"), &cloud)
	dir := harness.Dir(t)
	emulator := harness.Emulator(t, dir, "--profile=instant", "--zones=us-east-1a")
	for _, d := range cloud.DiskTypes {
		delete(d.Properties, "kms_key_arn") // the example key does not exist
		create(t, emulator.Endpoint, emulator.Instances[0].ID, d.Name, d.Size, d.Properties)
	}
	if len(cloud.DiskTypes) < 3 {
		t.Errorf("only %d disk types", len(cloud.DiskTypes))
	}
}

// create makes a disk of a disk type, with nothing that warns.
func create(t *testing.T, endpoint, vm, name string, size int, properties any) {
	t.Helper()
	request, err := json.Marshal(map[string]any{
		"method": "create_disk", "arguments": []any{size, properties, vm}, "api_version": 3,
		"context": map[string]any{"director_uuid": "d", "access_key_id": "test", "secret_access_key": "test", "region": "us-east-1", "ec2_endpoint": endpoint},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(harness.Bin(t), "diskbridge-cpi"))
	cmd.Env, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, bytes.NewReader(request)
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), `{"result":"vol-`) || !strings.HasSuffix(string(out), `"log":""}`+"\n") {
		t.Errorf("disk type %s: %v, %s", name, err, out)
	}
}

// leaves are the dotted names of all that is set.
func leaves(at string, v any) []string {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{at}
	}
	var all []string
	for k, inner := range m {
		all = append(all, leaves(at+"."+k, inner)...)
	}
	return all
}
