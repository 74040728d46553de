// Package sanity runs the CSI community's conformance suite (csi-sanity) on the real driver, over its socket, against a
// real emulator process and real loop devices. It knows CSI only.
package sanity

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	csisanity "github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

const gib = int64(1) << 30

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// skips are the only cases that may be left out: what csi-sanity says of them, how often it does so, and why it may.
var skips = []struct {
	message string
	count   int
	reason  string
}{
	{"GetCapacity not supported", 1, "EC2 does not tell how much capacity a zone has left"},
	{"ControllerPublishVolume.readonly field not supported", 1, "EC2 cannot attach read-only; the node mounts read-only"},
	{"SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported", 1, "EBS snapshots belong to the region, not to a zone"},
	{"GetSnapshot not supported", 3, "not built yet, and no sidecar calls it: ListSnapshots takes an id"},
	{"GroupControllerService not supported", 6, "not built yet: group snapshots"},
	{"ControllerGetVolumeHealth not supported", 2, "not built yet, and no sidecar calls it: volume health"},
	{"ControllerListVolumeHealth not supported", 1, "not built yet, and no sidecar calls it: volume health"},
	{"NodeGetVolumeHealth not supported", 2, "not built yet, and kubelet does not call it: volume health"},
	{"NodeGetStorageHealth not supported", 1, "not built yet, and kubelet does not call it: volume health"},
}

// TestSanity_EBS uses one driver process for both halves, as csi-sanity wants it. Each way of using volumes has an EC2 of
// its own: csi-sanity gives the volumes of both the same names, and EC2 remembers the name of a deleted volume for hours.
func TestSanity_EBS(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("csi-sanity stages and publishes volumes, which needs root")
	}
	ways := []string{"mount", "block"}
	var emulators []*sandbox.Emulator
	for _, way := range ways {
		dir := harness.Dir(t)
		emulator := harness.Emulator(t, dir, "--profile=instant", "--devices=loop", "--instances=1")
		// xfs, since a mounted ext4 only grows where CAP_SYS_RESOURCE is there. This EC2 shows at once what it has, so
		// two answers need not be seconds apart to prove that something does not exist.
		driver := harness.All(t, emulator, emulator.Instances[0], dir, "csi",
			"--cluster-id=sanity", "--default-fstype=xfs", "--absence-interval=50ms")
		config := csisanity.NewTestConfig()
		config.Address = "unix://" + driver.Socket
		config.TargetPath = filepath.Join(dir, "target")
		config.StagingPath = filepath.Join(dir, "staging")
		config.TestVolumeAccessType = way
		config.TestVolumeSize = gib
		config.TestVolumeExpandSize = 2 * gib
		config.TestVolumeParameters = map[string]string{"type": "gp3", "encrypted": "true"}
		config.TestVolumeMutableParameters = map[string]string{"throughput": "200"}
		config.TestNodeVolumeAttachLimit = true
		config.IDGen = ids{}
		ginkgo.Describe("EBS as "+way, func() { csisanity.GinkgoTest(&config) })
		emulators = append(emulators, emulator)
	}
	var report types.Report
	ginkgo.ReportAfterSuite("the report", func(r types.Report) { report = r })
	gomega.RegisterFailHandler(ginkgo.Fail)
	if !ginkgo.RunSpecs(t, "csi-sanity") {
		t.Error("csi-sanity found failures")
	}
	checkSkips(t, report, len(ways))
	for _, emulator := range emulators {
		harness.RequireEmpty(t, emulator)
	}
}

// checkSkips compares what was left out with what may be.
func checkSkips(t *testing.T, report types.Report, ways int) {
	seen, ran := map[string]int{}, 0
	for _, spec := range report.SpecReports {
		switch {
		case spec.State.Is(types.SpecStateSkipped):
			seen[spec.Failure.Message]++
		case spec.LeafNodeType.Is(types.NodeTypeIt) && !spec.State.Is(types.SpecStatePending): // csi-test's own pending case
			ran++
		}
	}
	want := map[string]int{}
	for _, s := range skips {
		want[s.message] = s.count * ways
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("csi-sanity left out other cases than those with a reason (- explained, + seen):\n%s", diff)
	}
	if ran < 70*ways {
		t.Errorf("only %d cases ran", ran)
	}
}

// ids makes names that are well-formed for EC2 and belong to nothing.
type ids struct{}

var _ csisanity.IDGenerator = ids{}

func (ids) GenerateUniqueValidVolumeID() string { return fmt.Sprintf("vol-0%016x", rand.Uint64()) }
func (ids) GenerateInvalidVolumeID() string     { return "volume-x" }
func (ids) GenerateUniqueValidNodeID() string   { return fmt.Sprintf("i-0%016x", rand.Uint64()) }
func (ids) GenerateInvalidNodeID() string       { return "node-x" }
