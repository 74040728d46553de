package volume_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestReadContext(t *testing.T) {
	kubernetes := map[string]string{
		"storage.kubernetes.io/csiProvisionerIdentity": "1-2-x", "csi.storage.k8s.io/pod.name": "p", "csi.storage.k8s.io/pod.uid": "u",
		"csi.storage.k8s.io/ephemeral": "false", "csi.storage.k8s.io/serviceAccount.tokens": "{}",
	}
	for name, tc := range map[string]struct {
		kind        volume.Kind
		given, want map[string]string
	}{
		"EBS: what Kubernetes adds": {volume.EBS, kubernetes, kubernetes},
		"EFS: what Kubernetes adds": {volume.EFS, kubernetes, kubernetes},
		"S3: what Kubernetes adds":  {volume.S3, kubernetes, kubernetes},
		"EBS: without case": {volume.EBS, map[string]string{"blockSize": "4096", "Ext4BigAlloc": "true", "DiskBridge.io/May-Format": "true"},
			map[string]string{"blocksize": "4096", "ext4bigalloc": "true", volume.ContextMayFormat: "true"}},
		"EFS: without case": {volume.EFS, map[string]string{"ENCRYPTINTRANSIT": "true", "mountTargetIp": "10.0.0.1", "subnetids": "subnet-1"},
			map[string]string{volume.ContextTLS: "true", volume.ContextAddress: "10.0.0.1", volume.ContextSubnets: "subnet-1"}},
		"EBS: a translated volume of the in-tree plugin": {volume.EBS, map[string]string{"partition": "0"}, map[string]string{}},
		"EBS: no partition":                          {volume.EBS, map[string]string{"partition": ""}, map[string]string{}},
		"EFS: the whole file system of this account": {volume.EFS, map[string]string{"path": "/", "crossaccount": "false"}, map[string]string{}},
		"nothing": {volume.EFS, nil, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := volume.ReadContext(tc.kind, tc.given)
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v; -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestReadContext_KeepsEveryKeyOfTheControllers(t *testing.T) {
	format, err := volume.FormatContext([]volume.Capability{{FSType: volume.Ext4}}, map[string]string{
		"blockSize": "4096", "inodeSize": "256", "bytesPerInode": "8192", "numberOfInodes": "100", "ext4BigAlloc": "true", "ext4ClusterSize": "8192", "ext4EncryptionSupport": "true",
	})
	if err != nil || len(format) != 7 {
		t.Fatal(format, err)
	}
	for kind, context := range map[volume.Kind]map[string]string{volume.EBS: format, volume.EFS: madeDirectory().Context()} {
		got, err := volume.ReadContext(kind, context)
		if diff := cmp.Diff(context, got); err != nil || diff != "" {
			t.Errorf("%s: %v; -want +got:\n%s", kind, err, diff)
		}
	}
}

// TestPlan_RefusesUnknownContextKeys: a mistyped encryptInTransit mounted in plain text.
func TestPlan_RefusesUnknownContextKeys(t *testing.T) {
	handles := map[volume.Kind]string{volume.EBS: handle, volume.EFS: fileSystem, volume.S3: "s3://bucket"}
	for name, tc := range map[string]struct {
		kind       volume.Kind
		key, value string
		want       string
	}{
		"EFS: a typing error":                    {volume.EFS, "encryptInTransti", "true", `did you mean "encryptInTransit"`},
		"EFS: one letter less":                   {volume.EFS, "EncryptInTransi", "true", `did you mean "encryptInTransit"`},
		"EFS: a blank at the end":                {volume.EFS, "encryptInTransit ", "true", `did you mean "encryptInTransit"`},
		"EFS: a key of ours that is none":        {volume.EFS, "diskbridge.io/permz", "0777", `did you mean "diskbridge.io/perms"`},
		"EFS: another kind's":                    {volume.EFS, "diskbridge.io/may-format", "true", "is unknown"},
		"EFS: any word":                          {volume.EFS, "iam", "true", "known are encryptInTransit"},
		"EFS: an empty key":                      {volume.EFS, "", "", "known are encryptInTransit"},
		"EFS: a directory in an attribute":       {volume.EFS, "path", "/data", "into the handle"},
		"EFS: another account by name":           {volume.EFS, "crossAccount", "true", volume.ContextAddress},
		"EFS: looks like Kubernetes'":            {volume.EFS, "storage.kubernetes.io/encryptInTransit", "true", "is unknown"},
		"EFS: Kubernetes' in a domain of others": {volume.EFS, "k8s.io/x", "", "is unknown"},
		"EBS: a typing error":                    {volume.EBS, "blocksizes", "4096", `did you mean "blocksize"`},
		"EBS: may-format":                        {volume.EBS, "diskbridge.io/mayformat", "true", `did you mean "diskbridge.io/may-format"`},
		"EBS: a partition":                       {volume.EBS, "partition", "1", "whole disk"},
		"EBS: the file system":                   {volume.EBS, "fsType", "xfs", "is unknown"},
		"EBS: EFS's":                             {volume.EBS, "encryptInTransit", "true", "is unknown"},
		"S3: of ours, mistyped":                  {volume.S3, "diskbridge.io/uid", "1", "is unknown"},
		"S3: compares with case":                 {volume.S3, "Region", "us-east-1", `did you mean "region"`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, block := range []bool{false, true} {
				r := volume.PlanRequest{Handle: handles[tc.kind], Context: map[string]string{tc.key: tc.value}, FSType: volume.Ext4, Region: "us-east-1",
					Capability: volume.Capability{Mode: volume.SingleNodeWriter, Block: block && tc.kind == volume.EBS}}
				if p, err := volume.NewPlan(r); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%+v, %v; want an error with %q", p, err, tc.want)
				}
			}
		})
	}
	for _, twice := range []map[string]string{{"encryptInTransit": "true", "EncryptInTransit": "false"}} {
		if _, err := volume.NewPlan(volume.PlanRequest{Handle: fileSystem, Context: twice, Region: "us-east-1"}); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%v, want it to say that a key is given twice", err)
		}
	}
}
