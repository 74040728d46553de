package efs_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestCreate_BadInputNamesTheFix(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	other := c.otherVPC()
	a, second, b1 := c.subnet(defaultVPC, "us-east-1a", "172.31.128.0/28"), c.subnet(defaultVPC, "us-east-1a", "172.31.129.0/28"), c.subnet(other, "us-east-1b", "10.9.0.0/28")
	closed, open := c.group("closed", defaultVPC), c.group("open", defaultVPC, "0.0.0.0/0")
	elsewhere := c.group("elsewhere", other, "0.0.0.0/0")
	given := c.foreign("given", nil)
	for name, tc := range map[string]struct {
		parameters map[string]string
		kind       fault.Kind
		text       string
	}{
		"unknown parameter":            {map[string]string{"performanceMod": "maxIO"}, fault.Invalid, `did you mean "performanceMode"?`},
		"missing subnet":               {map[string]string{"subnetIds": "subnet-0123456789abcdef0"}, fault.Invalid, "subnet subnet-0123456789abcdef0 does not exist in this region"},
		"two subnets of one zone":      {map[string]string{"subnetIds": a + "," + second}, fault.Invalid, "are both in zone us-east-1a, where a file system has one mount target"},
		"subnets of two VPCs":          {map[string]string{"subnetIds": a + "," + b1}, fault.Invalid, "mount targets in one VPC"},
		"no subnet at all":             {map[string]string{"subnetIds": "net-1"}, fault.Invalid, `"net-1" is not of the form subnet-…`},
		"a subnet twice":               {map[string]string{"subnetIds": a + "," + a}, fault.Invalid, "twice"},
		"missing security group":       {map[string]string{"securityGroupIds": "sg-00000000"}, fault.Invalid, "security group sg-00000000 does not exist"},
		"a group that lets no NFS in":  {map[string]string{"securityGroupIds": closed}, fault.Invalid, "lets TCP 2049 in"},
		"a group of another VPC":       {map[string]string{"securityGroupIds": elsewhere, "subnetIds": a}, fault.Invalid, "the subnets are in " + defaultVPC},
		"six groups":                   {map[string]string{"securityGroupIds": "sg-1,sg-2,sg-3,sg-4,sg-5,sg-6"}, fault.Invalid, "at most 5"},
		"One Zone without a zone":      {map[string]string{"oneZone": "true"}, fault.Invalid, "WaitForFirstConsumer"},
		"One Zone and maxIO":           {map[string]string{"availabilityZone": "us-east-1a", "performanceMode": "maxIO"}, fault.Invalid, "no performanceMode maxIO"},
		"One Zone, another's subnet":   {map[string]string{"availabilityZone": "us-east-1b", "subnetIds": a}, fault.Invalid, "name one subnet of that zone"},
		"a zone that is none":          {map[string]string{"availabilityZone": "us-east-1z"}, fault.Invalid, "us-east-1z"},
		"elastic and maxIO":            {map[string]string{"throughputMode": "elastic", "performanceMode": "maxIO"}, fault.Invalid, "maxIO"},
		"provisioned, no number":       {map[string]string{"throughputMode": "provisioned"}, fault.Invalid, "provisionedThroughputInMibps"},
		"too much throughput":          {map[string]string{"provisionedThroughputInMibps": "4000"}, fault.Invalid, "3414"},
		"a number that has no use":     {map[string]string{"throughputMode": "elastic", "provisionedThroughputInMibps": "9"}, fault.Invalid, "has no meaning"},
		"a key, not encrypted":         {map[string]string{"encrypted": "false", "kmsKeyId": "alias/x"}, fault.Invalid, "contradict"},
		"a key that does not exist":    {map[string]string{"kmsKeyId": "alias/none"}, fault.Invalid, "it must exist in this region"},
		"a mode that is none":          {map[string]string{"directoryPerms": "rwx"}, fault.Invalid, "octal"},
		"a user that is none":          {map[string]string{"uid": "root"}, fault.Invalid, "numeric id"},
		"half a range":                 {map[string]string{"gidRangeStart": "5"}, fault.Invalid, "belong together"},
		"a range backwards":            {map[string]string{"gidRangeStart": "5", "gidRangeEnd": "4"}, fault.Invalid, "is more than"},
		"a range and a group":          {map[string]string{"gidRangeStart": "5", "gidRangeEnd": "6", "gid": "5"}, fault.Invalid, "exclude each other"},
		"a path without a base":        {map[string]string{"basePath": "/a"}, fault.Invalid, "has no meaning with provisioningMode filesystem"},
		"a directory of nothing":       {map[string]string{"provisioningMode": "directory"}, fault.Invalid, "needs the parameter fileSystemId"},
		"a directory of two":           {map[string]string{"provisioningMode": "directory", "fileSystemId": given + ",fs-00000000"}, fault.Invalid, "takes one"},
		"a directory of a missing one": {map[string]string{"provisioningMode": "directory", "fileSystemId": "fs-00000000"}, fault.Invalid, "does not exist in this region"},
		"a directory with a key":       {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "kmsKeyId": "alias/x"}, fault.Invalid, "has no meaning with provisioningMode directory"},
		"a directory no tag can name":  {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "basePath": "/a#b", "onDelete": "delete"}, fault.Invalid, "choose another directory, or onDelete retain"},
		"a directory with tags":        {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "tagSpecification_1": "a=b"}, fault.Invalid, "no tags"},
		"a path upwards":               {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "basePath": "/a/../b"}, fault.Invalid, "without . and .. parts"},
		"our own directory":            {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "basePath": "/.diskbridge"}, fault.Invalid, "keeps its markers"},
		"a pattern without metadata":   {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "subPathPattern": "${.PVC.name}"}, fault.Invalid, "--extra-create-metadata"},
		"an unknown placeholder":       {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "subPathPattern": "${.Node.name}"}, fault.Invalid, "placeholder"},
		"a base that is too long":      {map[string]string{"provisioningMode": "directory", "fileSystemId": given, "basePath": "/" + strings.Repeat("a", 90)}, fault.Invalid, "shorten them"},
		"an access point, deleted":     {map[string]string{"provisioningMode": "efs-ap", "fileSystemId": given, "onDelete": "delete"}, fault.Invalid, "nobody removes the directory of an access point"},
		"a volume to adopt":            {map[string]string{"existingResourceId": "vol-01234567"}, fault.Invalid, "is not fs-…"},
		"a missing one to adopt":       {map[string]string{"existingResourceId": "fs-00000000"}, fault.NotFound, "does not exist"},
		"a good one":                   {map[string]string{"securityGroupIds": open, "subnetIds": a}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := b.Create(t.Context(), request("pvc-"+strings.ReplaceAll(name, " ", "-"), tc.parameters))
			if tc.text == "" {
				if err != nil || c.targets(v.Handle)["us-east-1a"].Subnet != a {
					t.Errorf("%+v, %v; targets %v", v, err, c.targets(v.Handle))
				}
				return
			}
			wantFault(t, name, err, tc.kind, tc.text)
		})
	}
	if left := c.ours(); len(left) != 1 {
		t.Errorf("made %v, want only the good one", left)
	}
}

func TestCreate_ShapesTheFileSystem(t *testing.T) {
	t.Parallel()
	c := instant(t)
	v := mustCreate(t, c.backend(), "pvc-1", map[string]string{
		"volumeType": "MAXIO", "tag": "prod", "backup": "true", "transitionToIA": "after_7_days", "uid": "1000", "gidRangeStart": "5000", "gidRangeEnd": "5999",
		"encryptInTransit": "true", "tagSpecification_1": "team=storage", "provisionedThroughputInMibps": "10",
	})
	f := c.fileSystem(v.Handle)
	if f.Backup != "ENABLED" || f.Lifecycle != 1 || f.Throughput != "provisioned" || f.Tags["Name"] != "prod/pvc-1" || f.Tags["team"] != "storage" || f.Tags[backend.TagCluster] != cluster {
		t.Errorf("made %+v", f)
	}
	if g := v.Context[volume.ContextGID]; len(g) != 4 || g[0] != '5' || v.Context[volume.ContextUID] != "1000" || v.Context[volume.ContextPerms] != "0770" || v.Context[volume.ContextTLS] != "true" {
		t.Errorf("context %v", v.Context)
	}
	again := mustCreate(t, c.backend(), "pvc-1", map[string]string{
		"performanceMode": "maxIO", "namePrefix": "prod", "transitionToIA": "AFTER_7_DAYS", "gidRangeStart": "5000", "gidRangeEnd": "5999", "uid": "1000", "encryptInTransit": "true",
	})
	if !maps.Equal(again.Context, v.Context) || again.Handle != v.Handle {
		t.Errorf("again %+v, first %+v", again, v)
	}
	if n := c.count("efs:PutLifecycleConfiguration"); n != 1 {
		t.Errorf("the lifecycle was put %d times", n)
	}
	plan, err := volume.NewPlan(volume.PlanRequest{Handle: v.Handle, Context: v.Context, Publish: map[string]string{volume.PublishAddress: "10.0.0.1"}, Capability: shared})
	if p, ok := plan.(volume.NFSPlan); err != nil || !ok || p.Root == nil || p.Root.UID != 1000 || !p.TLS {
		t.Errorf("plan %+v, %v", plan, err)
	}
}

func TestCreate_ComparesWhatCannotChange(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	mustCreate(t, b, "pvc-1", nil)
	for text, parameters := range map[string]map[string]string{
		"performance mode":  {"performanceMode": "maxIO"},
		"encrypted is true": {"encrypted": "false"},
		"One Zone":          {"availabilityZone": "us-east-1a"},
		"KMS key":           {"kmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/other"},
		"onDelete":          {"onDelete": "retain"},
	} {
		_, err := b.Create(t.Context(), request("pvc-1", parameters))
		wantFault(t, text, err, fault.Conflict, text)
	}
	if _, err := b.Create(t.Context(), request("pvc-1", map[string]string{"throughputMode": "elastic"})); err != nil {
		t.Errorf("what can change is compared: %v", err)
	}
}

func TestCreate_NoKMSPermission(t *testing.T) {
	t.Parallel()
	c := instant(t)
	deny := `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*"}]}`
	key, err := kms.NewFromConfig(c.config()).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &deny})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.backend().Create(t.Context(), request("pvc-1", map[string]string{"kmsKeyId": *key.KeyMetadata.Arn}))
	wantFault(t, "a key that refuses", err, fault.Denied, "the driver's role needs kms:DescribeKey, kms:CreateGrant")
}

func TestCreate_QuotasAreNamed(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	c.fault(emulator.Fault{Operation: "efs:CreateFileSystem", Nth: 1, Effect: "refuse", Code: "FileSystemLimitExceeded"})
	_, err := b.Create(t.Context(), request("pvc-1", nil))
	wantFault(t, "file systems", err, fault.Limit, "1,000 file systems")
	v := mustCreate(t, b, "pvc-1", nil)
	c.fault(emulator.Fault{Operation: "efs:CreateMountTarget", Nth: 1, Effect: "refuse", Code: "NetworkInterfaceLimitExceeded"})
	_, err = b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(0), Capability: shared})
	wantFault(t, "mount targets", err, fault.Limit, "133 file systems in three zones")
	// A file system that exists is not refused for want of a mount target: the caller would forget it.
	c.fault(emulator.Fault{Operation: "efs:CreateMountTarget", Nth: 1, Effect: "refuse", Code: "NoFreeAddressesInSubnet"})
	_, err = b.Create(t.Context(), request("pvc-2", map[string]string{"subnetIds": "subnet-00000000000000001"}))
	wantFault(t, "addresses", err, fault.Unavailable, "waits for its mount target")
	if _, err := b.Create(t.Context(), request("pvc-2", map[string]string{"subnetIds": "subnet-00000000000000001"})); err != nil {
		t.Errorf("the same request again: %v", err)
	}
}

func TestCreate_OneZoneFollowsTheTopology(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	req := request("pvc-1", map[string]string{"oneZone": "true"})
	req.Topology.Preferred = []volume.Topology{{Zone: "us-east-1b"}}
	v, err := b.Create(t.Context(), req)
	if err != nil || len(v.Topology) != 1 || v.Topology[0].Zone != "us-east-1b" {
		t.Fatalf("%+v, %v", v, err)
	}
	var ips []string
	for i := range 2 { // of both zones
		got, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(i), Capability: shared})
		if err != nil {
			t.Fatal(err)
		}
		ips = append(ips, got[volume.PublishAddress])
	}
	if len(c.targets(v.Handle)) != 1 || ips[0] != ips[1] || c.targets(v.Handle)["us-east-1b"].IP != ips[0] {
		t.Errorf("addresses %v, targets %v", ips, c.targets(v.Handle))
	}
}

func TestCreate_Adopts(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	id := c.foreign("theirs", map[string]string{"Name": "theirs"})
	v := mustCreate(t, b, "pvc-1", map[string]string{"existingResourceId": id})
	again := mustCreate(t, b, "pvc-1", map[string]string{"existingResourceId": id})
	if v.Handle != id || again.Handle != id || v.Context[volume.ContextPerms] != "" || c.count("efs:TagResource") != 1 {
		t.Errorf("adopted %+v with %d tag calls", v, c.count("efs:TagResource"))
	}
	_, err := b.Create(t.Context(), request("pvc-2", map[string]string{"existingResourceId": id}))
	wantFault(t, "a second claim", err, fault.Conflict, `already used as "pvc-1"`)
	for range 2 {
		if kept, err := b.Delete(t.Context(), id); err != nil || kept == "" {
			t.Errorf("Delete = %q, %v; want it kept", kept, err)
		}
		if f := c.fileSystem(id); f.Tags[backend.TagCluster] != "" || f.Tags["Name"] != "theirs" {
			t.Errorf("after the deletion its tags are %v", f.Tags)
		}
	}
	mustCreate(t, b, "pvc-2", map[string]string{"existingResourceId": id}) // it is free again
}
