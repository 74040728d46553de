package suite

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

//go:embed driver.yaml
var driver []byte

// class is what the driver file names, beside what a cluster with the driver has: a change that EC2 allows for the suite's small
// volumes.
const class = `apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: external}
driverName: ebs.csi.diskbridge.io
parameters: {throughput: "250"}
`

// Quick are the specs that are run with the stories: each kind of volume once or more, some minutes in all.
const Quick = `External.Storage.*(` +
	`Dynamic PV \((default fs|ext4|block volmode)\)\] volumes should store data` +
	`|Dynamic PV \(default fs\)\] subPath should support (existing director|existing single file|readOnly)` +
	`|fsgroupchangepolicy \(OnRootMismatch\)` +
	`|Dynamic PV \(default fs\)\] provisioning should (provision storage with (pvc data source|snapshot data source)|mount multiple PV pointing)` +
	`|Dynamic PV \(default fs\)\(allowExpansion\)\] volume-expand` +
	`|Generic Ephemeral-volume \(default fs\) \(late-binding\)\] ephemeral should create read/write` +
	`|read-write-once-pod should block)`

// All are all specs.
const All = `External.Storage`

// leftOut are the specs that are never run, by a part of their names, and why.
func leftOut() map[string]string {
	return map[string]string{
		`\[Disruptive\]`:         "disruptive: it stops a node's own services",
		`any volume data source`: "needs images of a volume populator, which nobody publishes as a Go module",
	}
}

// Run runs the specs that focus matches, several at a time, and returns the report of every spec that there is.
// A failed spec is no error.
func Run(ctx context.Context, c *cluster.Cluster, focus string, procs int) ([]types.SpecReport, error) {
	dir := filepath.Join(c.Paths.Run, "logs/external")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := c.Kubectl(ctx, class, "apply", "-f", "-"); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "driver.yaml")
	if err := os.WriteFile(file, driver, 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd := exec.CommandContext(ctx, c.Paths.Kube+"/ginkgo", "--procs="+strconv.Itoa(procs), "--no-color", "--timeout=3h", "--flake-attempts=2",
		"--focus="+focus, "--skip="+strings.Join(slices.Collect(maps.Keys(leftOut())), "|"), "--json-report=report.json", "--output-dir="+dir, c.Paths.Kube+"/external.test",
		"--", "-kubeconfig="+c.Kubeconfig, "-provider=skeleton", "-storage.testdriver="+file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "PATH="+c.Paths.Kube+":"+os.Getenv("PATH")) // its kubectl
	failed := cmd.Run()
	var exit *exec.ExitError
	if failed != nil && !errors.As(failed, &exit) {
		return nil, failed
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w; see %s", failed, err, log.Name())
	}
	var reports []types.Report
	if err := json.Unmarshal(text, &reports); err != nil || len(reports) != 1 {
		return nil, fmt.Errorf("%d reports: %w", len(reports), err)
	}
	return reports[0].SpecReports, nil
}
