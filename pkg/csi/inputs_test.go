package csi

import (
	"context"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/backend/efs"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	cloudec2 "github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	cloudefs "github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// drivers are the controllers of all kinds, on an emulator.
func drivers(t *testing.T) (map[volume.Kind]*Controller, *emulator.Server) {
	t.Helper()
	server, err := emulator.Start(t.Context(), emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	session, err := aws.NewExplicitSession(aws.Explicit{Region: "us-east-1", AccessKeyID: "test", SecretAccessKey: "test", EC2: server.Endpoint()})
	if err != nil {
		t.Fatal(err)
	}
	ec2, files := cloudec2.New(session.Config(), cloudec2.Options{}), cloudefs.New(session.Config(), cloudefs.Options{})
	t.Cleanup(ec2.Close)
	owner := func(driver string) backend.Owner { return backend.Owner{Driver: driver, Cluster: "c"} }
	b := broker.New(map[volume.Kind]backend.Backend{
		volume.EBS: ebs.New(ec2, ebs.Options{Owner: owner(ebs.DefaultDriver)}),
		volume.EFS: efs.New(files, nil, efs.Options{Owner: owner(efs.DefaultDriver)}),
		volume.S3: s3.New(s3.Options{Owner: owner(s3.DefaultDriver), Profiles: []string{""}, Servers: func(string, *volume.ObjectCredentials) (s3.API, error) {
			t.Error("S3 was asked")
			return nil, context.Canceled
		}}),
	})
	out := map[volume.Kind]*Controller{}
	for _, kind := range []backend.Kind{ebs.Kind(), efs.Kind(), s3.Kind()} {
		out[kind.Name] = &Controller{Kind: kind, Broker: b}
	}
	return out, server
}

// TestCreateVolume_WrongInputIsRefusedBeforeAnyCall: an access mode that CSI does not have, a file system with an option, and a
// KMS key with a quotation mark were accepted.
func TestCreateVolume_WrongInputIsRefusedBeforeAnyCall(t *testing.T) {
	type parameters = map[string]string
	const hostile = `'; DROP`
	all, server := drivers(t)
	for name, row := range map[string]struct {
		mode       csipb.VolumeCapability_AccessMode_Mode // 0: SINGLE_NODE_WRITER
		fsType     string
		block      bool
		parameters parameters
		only       volume.Kind
		want       string
	}{
		"an access mode of the future":   {mode: 99, want: "access_mode 99"},
		"a negative access mode":         {mode: -1, want: "access_mode -1"},
		"a file system with an option":   {parameters: parameters{"csi.storage.k8s.io/fstype": "ntfs -x"}, want: "csi.storage.k8s.io/fstype"},
		"a file system that is none":     {parameters: parameters{"csi.storage.k8s.io/fstype": "ntfs"}, want: "csi.storage.k8s.io/fstype"},
		"a path for a file system":       {parameters: parameters{"csi.storage.k8s.io/fstype": "../xfs"}, want: "csi.storage.k8s.io/fstype"},
		"two file systems":               {parameters: parameters{"csi.storage.k8s.io/fstype": "xfs"}, fsType: "ext4", only: volume.EBS, want: "fs_type"},
		"a capability's with an option":  {fsType: "ext4 -x", want: "ext4 -x"},
		"an option, for a raw device":    {parameters: parameters{"csi.storage.k8s.io/fstype": "xfs -x"}, block: true, only: volume.EBS, want: "csi.storage.k8s.io/fstype"},
		"the old key":                    {parameters: parameters{"fstype": "ntfs -x"}, only: volume.EBS, want: "fstype"},
		"a KMS key":                      {parameters: parameters{"kmsKeyId": hostile}, want: "kmsKeyId"},
		"a KMS key under another name":   {parameters: parameters{"kms_key_arn": hostile}, want: "kms_key_arn"},
		"another service's ARN":          {parameters: parameters{"kmsKeyId": "arn:aws:iam::000000000000:role/x"}, want: "kmsKeyId"},
		"an alias with a space":          {parameters: parameters{"kmsKeyId": "alias/a b"}, want: "kmsKeyId"},
		"a KMS key with a new line":      {parameters: parameters{"kmsKeyId": "alias/a\n"}, want: "kmsKeyId"},
		"a KMS key without end":          {parameters: parameters{"kmsKeyId": "alias/" + strings.Repeat("x", 2048)}, want: "kmsKeyId"},
		"a claim's name":                 {parameters: parameters{"csi.storage.k8s.io/pvc/name": hostile}, want: "csi.storage.k8s.io/pvc/name"},
		"a namespace with a new line":    {parameters: parameters{"csi.storage.k8s.io/pvc/namespace": "a\nb"}, want: "csi.storage.k8s.io/pvc/namespace"},
		"a PersistentVolume's, too long": {parameters: parameters{"csi.storage.k8s.io/pv/name": strings.Repeat("x", 254)}, want: "csi.storage.k8s.io/pv/name"},
	} {
		for kind, driver := range all {
			if row.only != "" && row.only != kind {
				continue
			}
			t.Run(string(kind)+": "+name, func(t *testing.T) {
				mode := row.mode
				if mode == 0 {
					mode = csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
				}
				capability := &csipb.VolumeCapability{
					AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
					AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: row.fsType}},
				}
				if row.block {
					capability.AccessType = &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}
				}
				_, err := driver.CreateVolume(t.Context(), &csipb.CreateVolumeRequest{
					Name: "v", Parameters: row.parameters, VolumeCapabilities: []*csipb.VolumeCapability{capability},
				})
				if code := status.Code(Status("CreateVolume", err)); code != codes.InvalidArgument || !strings.Contains(err.Error(), row.want) {
					t.Errorf("%v (%v), want %q", err, code, row.want)
				}
			})
		}
	}
	if calls := server.Calls(); len(calls) != 0 {
		t.Errorf("AWS was asked: %v", calls)
	}
}

// TestKMSKey_Forms are those that AWS documents.
func TestKMSKey_Forms(t *testing.T) {
	all, _ := drivers(t)
	for _, key := range []string{
		"1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab", "alias/aws/ebs", "alias/Team_a-1", "",
		"arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws-us-gov:kms:us-gov-west-1:000000000000:alias/x/y",
		"arn:aws-cn:kms:cn-north-1:000000000000:key/mrk-1234abcd12ab34cd56ef1234567890ab",
	} {
		for kind, driver := range all {
			if _, err := driver.Kind.Parameters.Decode(map[string]string{"kmsKeyId": key}); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}
