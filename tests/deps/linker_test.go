package deps

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// maxStripped bounds a binary as it ships, in bytes. Without method pruning it is several times larger.
const maxStripped = 32 << 20

// TestLinker_KeptOnlyTheCallsThatAreMade builds the binaries as they ship, but with symbols. reflect's MethodByName,
// reached by a template package, makes the linker keep every exported method: all of EC2's 800 operations.
func TestLinker_KeptOnlyTheCallsThatAreMade(t *testing.T) {
	for _, tc := range []struct {
		binary string
		has    string // proves that the symbols are there to be read
	}{
		{"diskbridge-csi", "service/ec2.(*Client).DescribeVolumes"},
		{"diskbridge-cpi", "service/ec2.(*Client).CreateVolume"},
	} {
		t.Run(tc.binary, func(t *testing.T) {
			path := build(t, tc.binary)
			symbols, err := exec.Command("go", "tool", "nm", path).Output()
			if err != nil {
				t.Fatalf("go tool nm: %v", err)
			}
			if !bytes.Contains(symbols, []byte(tc.has)) {
				t.Errorf("%s has no symbol %s: this test reads the wrong thing", tc.binary, tc.has)
			}
			for _, unwanted := range []string{"service/ec2.(*Client).RunInstances", "service/ec2.(*Client).CreateVpc", "service/efs.(*Client).PutFileSystemPolicy", "service/s3.(*Client).SelectObjectContent", "text/template.(*Template).Execute"} {
				if bytes.Contains(symbols, []byte(unwanted)) {
					t.Errorf("%s has %s: something turned off the linker's method pruning", tc.binary, unwanted)
				}
			}
		})
	}
}

func TestLinker_BinariesStaySmall(t *testing.T) {
	for _, binary := range []string{"diskbridge-csi", "diskbridge-cpi"} {
		info, err := os.Stat(build(t, binary, "-ldflags", "-s -w"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is %d MiB", binary, info.Size()>>20)
		if info.Size() > maxStripped {
			t.Errorf("%s is %d MiB, more than %d", binary, info.Size()>>20, maxStripped>>20)
		}
	}
}

func build(t *testing.T, binary string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), binary)
	args := append([]string{"build", "-trimpath", "-tags", "grpcnotrace", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "./cmd/"+binary)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return path
}

// TestIAMPolicy_ListsTheCalls compares deploy/iam with AWS's operations that the linker kept: exactly those that are called.
func TestIAMPolicy_ListsTheCalls(t *testing.T) {
	for _, tc := range []struct {
		binary, policy string
		unused         string   // kept with the engine, and called by the other front door only
		more           []string // made on the caller's behalf
	}{
		// EFS makes the first ones for the network interface of a mount target, and the last for its backup
		// (https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html).
		{"diskbridge-csi", "controller.json", "", []string{"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "elasticfilesystem:PutBackupPolicy"}},
		{"diskbridge-cpi", "bosh.json", "ec2:CopyVolumes", nil},
	} {
		t.Run(tc.policy, func(t *testing.T) {
			called := slices.DeleteFunc(calls(t, tc.binary), func(call string) bool { return call == tc.unused })
			// EC2 makes these on the caller's behalf for customer managed keys
			// (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html).
			called = append(called, "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo")
			called = append(called, tc.more...)
			allowed := allowed(t, tc.policy)
			for _, list := range []*[]string{&called, &allowed} {
				slices.Sort(*list)
				*list = slices.Compact(*list)
			}
			if diff := cmp.Diff(called, allowed); diff != "" {
				t.Errorf("deploy/iam/%s differs from what %s calls (- called, + allowed):\n%s", tc.policy, tc.binary, diff)
			}
		})
	}
}

// TestIAMPolicy_OfOccasions: what is granted beside a policy for an occasion is for other resources, not for other calls.
func TestIAMPolicy_OfOccasions(t *testing.T) {
	always := allowed(t, "controller.json")
	for _, policy := range []string{"adopt.json", "stand-in.json"} {
		actions := allowed(t, policy)
		if len(actions) == 0 {
			t.Errorf("deploy/iam/%s allows nothing", policy)
		}
		for _, action := range actions {
			if !slices.Contains(always, action) {
				t.Errorf("deploy/iam/%s allows %s, which the controller does not call", policy, action)
			}
		}
	}
}

// TestIAMPolicy_LetsTheJanitorEnd: directories are in file systems that the user made, which carry no tag of ours but the one
// that asks for a removal.
func TestIAMPolicy_LetsTheJanitorEnd(t *testing.T) {
	text, err := os.ReadFile("../../deploy/iam/controller.json")
	if err != nil {
		t.Fatal(err)
	}
	key, _ := volume.Removal{Digest: "*"}.Tag()
	if !strings.Contains(string(text), strconv.Quote(key)) {
		t.Errorf("deploy/iam/controller.json lets nobody take the tag %s away", key)
	}
}

// calls are the operations of EC2 and KMS that the linker kept.
func calls(t *testing.T, binary string) []string {
	t.Helper()
	symbols, err := exec.Command("go", "tool", "nm", build(t, binary)).Output()
	if err != nil {
		t.Fatalf("go tool nm: %v", err)
	}
	var called []string
	for service, prefix := range map[string]string{"ec2": "ec2", "efs": "elasticfilesystem", "kms": "kms"} {
		methods := regexp.MustCompile(`aws-sdk-go-v2/service/` + service + `\.\(\*Client\)\.([A-Z]\w+)\n`)
		for _, m := range methods.FindAllSubmatch(symbols, -1) {
			if name := string(m[1]); name != "Options" {
				called = append(called, prefix+":"+name)
			}
		}
	}
	return called
}

func allowed(t *testing.T, policy string) []string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/iam/" + policy)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Statement []struct{ Action []string }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, s := range file.Statement {
		actions = append(actions, s.Action...)
	}
	return actions
}

// s3Actions are the permissions that S3's operations need where they are not called as the operations are.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
var s3Actions = map[string][]string{
	"CreateBucket":                    {"CreateBucket", "TagResource", "PutBucketOwnershipControls"},
	"DeleteObject":                    {"DeleteObject", "DeleteObjectVersion"},
	"DeleteObjects":                   {"DeleteObject", "DeleteObjectVersion"},
	"HeadBucket":                      {"ListBucket"},
	"ListBuckets":                     {"ListAllMyBuckets"},
	"ListMultipartUploads":            {"ListBucketMultipartUploads"},
	"ListObjectVersions":              {"ListBucketVersions"},
	"ListObjectsV2":                   {"ListBucket"},
	"PutBucketEncryption":             {"PutEncryptionConfiguration"},
	"PutBucketLifecycleConfiguration": {"PutLifecycleConfiguration"},
	"PutPublicAccessBlock":            {"PutBucketPublicAccessBlock"},
}

// TestIAMPolicy_ListsTheCallsToS3 compares deploy/iam/s3.json with S3's operations that the linker kept.
func TestIAMPolicy_ListsTheCallsToS3(t *testing.T) {
	symbols, err := exec.Command("go", "tool", "nm", build(t, "diskbridge-csi")).Output()
	if err != nil {
		t.Fatalf("go tool nm: %v", err)
	}
	var called, allowed []string
	for _, m := range regexp.MustCompile(`aws-sdk-go-v2/service/s3\.\(\*Client\)\.([A-Z]\w+)\n`).FindAllSubmatch(symbols, -1) {
		name := string(m[1])
		switch actions, other := s3Actions[name]; {
		case name == "Options", name == "CreateSession": // the SDK's own, for directory buckets, which we refuse
		case other:
			called = append(called, actions...)
		default:
			called = append(called, name)
		}
	}
	text, err := os.ReadFile("../../deploy/iam/s3.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct{ Action []string }
	}
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	for _, s := range policy.Statement {
		for _, a := range s.Action {
			allowed = append(allowed, strings.TrimPrefix(a, "s3:"))
		}
	}
	for _, list := range []*[]string{&called, &allowed} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if diff := cmp.Diff(called, allowed); diff != "" {
		t.Errorf("deploy/iam/s3.json differs from what the driver calls (- called, + allowed):\n%s", diff)
	}
}
