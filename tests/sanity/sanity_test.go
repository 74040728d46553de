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
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

const gib = int64(1) << 30

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// skips are the only cases that may be left out: what csi-sanity says of them, how often it does so for a way of using
// EBS, for EFS and for S3, and why it may.
var skips = []struct {
	message      string
	ebs, efs, s3 int
	reason       string
}{
	{"GetCapacity not supported", 1, 1, 1, "AWS does not tell how much capacity a zone has left"},
	{"ControllerPublishVolume.readonly field not supported", 1, 1, 0, "nothing is attached read-only; the node mounts read-only"},
	{"SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported", 1, 0, 0, "EBS snapshots belong to the region, not to a zone"},
	{"CreateSnapshot not supported", 0, 6, 6, "EFS and S3 have no snapshots"},
	{"DeleteSnapshot not supported", 0, 3, 3, "EFS and S3 have no snapshots"},
	{"ListSnapshots not supported", 0, 7, 7, "EFS and S3 have no snapshots"},
	{"Snapshot not supported", 0, 2, 2, "EFS and S3 have no snapshots"},
	{"Volume Cloning not supported", 0, 2, 2, "EFS and S3 have no clones"},
	{"testnodevolumeattachlimit not enabled", 0, 1, 0, "a node takes as many file systems as it likes"},
	{"GetSnapshot not supported", 3, 3, 3, "not built yet, and no sidecar calls it: ListSnapshots takes an id"},
	{"GroupControllerService not supported", 6, 6, 6, "not built yet: group snapshots"},
	{"ControllerGetVolumeHealth not supported", 2, 0, 2, "not built yet, and no sidecar calls it: volume health"},
	{"ControllerListVolumeHealth not supported", 1, 1, 1, "not built yet, and no sidecar calls it: volume health"},
	{"NodeGetVolumeHealth not supported", 0, 0, 2, "nothing honest to tell of a bucket"},
	{"NodeGetStorageHealth not supported", 1, 1, 1, "not built yet, and kubelet does not call it: volume health"},
	{"Controller Publish, UnpublishVolume not supported", 0, 0, 2, "a bucket is attached to nothing"},
	{"ControllerPublishVolume not supported", 0, 0, 7, "a bucket is attached to nothing"},
	{"ControllerUnpublishVolume not supported", 0, 0, 1, "a bucket is attached to nothing"},
	{"ControllerExpandVolume not supported", 0, 0, 3, "a bucket has no size"},
	{"NodeExpandVolume not supported", 0, 4, 4, "a file system of EFS grows by itself, and a bucket has no size"},
	{"NodeGetVolume not supported", 0, 0, 4, "a bucket has nothing honest to count"},
	{"ControllerModifyVolume not supported", 0, 0, 6, "a bucket has no attributes of a class"},
	{"Modify Volume not supported", 0, 0, 1, "a bucket has no attributes of a class"},
	{"Modify volume not supported", 0, 0, 1, "a bucket has no attributes of a class"},
	{unmounted, 0, 6, 0, "they mount: NFS needs a kernel with it, in User Mode Linux (tests/nfs)"},
}

// unmounted is what ginkgo says of the cases that mounts matches: nothing.
const unmounted = ""

// placeVariable is "nfs" on a kernel with an NFS client and servers behind the mount targets: then only EFS is used, and
// all its cases run.
const placeVariable = "DISKBRIDGE_SANITY"

// mounts matches the cases of EFS that need a kernel with NFS.
const mounts = `EFS Node Service (should (be idempotent|work)|NodeUnpublishVolume should remove target path|` +
	`NodePublishVolume with single node multi writer capability should fail|` +
	`NodeGetVolumeStats should fail when volume does not exist on the specified path|NodeGetVolumeHealth should return health)`

// way is one way of using volumes.
type way struct {
	name, driver, access string
	parameters, mutable  map[string]string
}

var ways = []way{
	{"EBS as mount", sandbox.EBSDriver, "mount", map[string]string{"type": "gp3", "encrypted": "true"}, map[string]string{"throughput": "200"}},
	{"EBS as block", sandbox.EBSDriver, "block", map[string]string{"type": "gp3", "encrypted": "true"}, map[string]string{"throughput": "200"}},
	{"S3 buckets", sandbox.S3Driver, "mount", map[string]string{"versioning": "true", "bucketNamePrefix": "sanity"}, nil},
	{"EFS", sandbox.EFSDriver, "mount", map[string]string{"transitionToIA": "AFTER_30_DAYS"}, map[string]string{"throughputMode": "elastic"}},
}

// TestSanity uses one driver process for both halves, as csi-sanity wants it. Each way of using volumes has an AWS of
// its own: csi-sanity gives the volumes of all the same names, and EC2 remembers the name of a deleted volume for hours.
func TestSanity(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("csi-sanity stages and publishes volumes, which needs root")
	}
	var emulators []*sandbox.Emulator
	onNFS := os.Getenv(placeVariable) == "nfs"
	for _, w := range ways {
		devices := []string{"--files=nfs"}
		if !onNFS {
			devices = []string{"--devices=loop", "--s3-server=" + s3test.Program(t)}
		} else if w.driver != sandbox.EFSDriver {
			continue
		}
		dir := harness.Dir(t)
		emulator := harness.Emulator(t, dir, append(devices, "--profile=instant", "--instances=1")...)
		// xfs, since a mounted ext4 only grows where CAP_SYS_RESOURCE is there. This AWS shows at once what it has, so
		// two answers need not be seconds apart to prove that something does not exist.
		args := []string{"--cluster-id=sanity", "--default-fstype=xfs", "--absence-interval=50ms"}
		if w.driver == sandbox.S3Driver {
			_, socket := harness.Mounter(t, dir, "m", emulator.CloudEnv())
			args = append(args, "--mounter-socket="+socket)
		}
		driver := harness.AllOf(t, w.driver, emulator, emulator.Instances[0], dir, "csi", args...)
		config := csisanity.NewTestConfig()
		config.Address = "unix://" + driver.Socket
		config.TargetPath = filepath.Join(dir, "target")
		config.StagingPath = filepath.Join(dir, "staging")
		config.TestVolumeAccessType = w.access
		config.TestVolumeSize = gib
		config.TestVolumeExpandSize = 2 * gib
		config.TestVolumeParameters = w.parameters
		config.TestVolumeMutableParameters = w.mutable
		config.TestNodeVolumeAttachLimit = w.driver == sandbox.EBSDriver
		config.IDGen = ids{prefix: map[string]string{sandbox.EBSDriver: "vol-", sandbox.EFSDriver: "fs-", sandbox.S3Driver: "s3://never-was-"}[w.driver]}
		ginkgo.Describe(w.name, func() { csisanity.GinkgoTest(&config) })
		emulators = append(emulators, emulator)
	}
	var report types.Report
	ginkgo.ReportAfterSuite("the report", func(r types.Report) { report = r })
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	if !onNFS {
		suite.SkipStrings = []string{mounts}
	}
	if !ginkgo.RunSpecs(t, "csi-sanity", suite, reporter) {
		t.Error("csi-sanity found failures")
	}
	checkSkips(t, report, onNFS)
	for _, emulator := range emulators {
		harness.RequireEmpty(t, emulator)
	}
}

// checkSkips compares what was left out with what may be.
func checkSkips(t *testing.T, report types.Report, onNFS bool) {
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
	least := 70*2 + 50 + 40
	for _, s := range skips {
		if !onNFS {
			want[s.message] = 2*s.ebs + s.efs + s.s3
		} else if s.efs > 0 && s.message != unmounted {
			want[s.message] = s.efs
		}
	}
	if onNFS {
		least = 56
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("csi-sanity left out other cases than those with a reason (- explained, + seen):\n%s", diff)
	}
	if ran < least {
		t.Errorf("only %d cases ran", ran)
	}
}

// ids makes names that are well-formed for a kind of volume and belong to nothing.
type ids struct{ prefix string }

var _ csisanity.IDGenerator = ids{}

func (i ids) GenerateUniqueValidVolumeID() string {
	return fmt.Sprintf("%s0%016x", i.prefix, rand.Uint64())
}
func (ids) GenerateInvalidVolumeID() string   { return "volume-x" }
func (ids) GenerateUniqueValidNodeID() string { return fmt.Sprintf("i-0%016x", rand.Uint64()) }
func (ids) GenerateInvalidNodeID() string     { return "node-x" }
