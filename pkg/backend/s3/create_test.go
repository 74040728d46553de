package s3_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestBackend_NewBucketIsClosed reads with AWS's client what a new bucket is.
func TestBackend_NewBucketIsClosed(t *testing.T) {
	c := newCloud(t)
	v := mustCreate(t, c.backend(), "pvc-1", map[string]string{
		"bucketNamePrefix": "team-a", "kmsKeyId": "alias/mine", "versioning": "true", "abortUploadsAfterDays": "3", "uid": "1000", "umask": "0027", "tagSpecification_1": "owner=me",
	})
	h, err := volume.ParseHandle(v.Handle)
	if err != nil || !strings.HasPrefix(h.Root, "team-a-pvc-1-") {
		t.Fatalf("handle %s: %v", v.Handle, err)
	}
	ctx := t.Context()
	block, err := c.sdk.GetPublicAccessBlock(ctx, &sdk.GetPublicAccessBlockInput{Bucket: &h.Root})
	if err != nil {
		t.Fatal(err)
	}
	if p := block.PublicAccessBlockConfiguration; !*p.BlockPublicAcls || !*p.BlockPublicPolicy || !*p.IgnorePublicAcls || !*p.RestrictPublicBuckets {
		t.Errorf("public access: %+v", p)
	}
	owner, err := c.sdk.GetBucketOwnershipControls(ctx, &sdk.GetBucketOwnershipControlsInput{Bucket: &h.Root})
	if err != nil || owner.OwnershipControls.Rules[0].ObjectOwnership != types.ObjectOwnershipBucketOwnerEnforced {
		t.Errorf("ownership: %+v, %v", owner, err)
	}
	encryption, err := c.sdk.GetBucketEncryption(ctx, &sdk.GetBucketEncryptionInput{Bucket: &h.Root})
	if err != nil {
		t.Fatal(err)
	}
	rule := encryption.ServerSideEncryptionConfiguration.Rules[0]
	if by := rule.ApplyServerSideEncryptionByDefault; by.SSEAlgorithm != types.ServerSideEncryptionAwsKms || *by.KMSMasterKeyID != "alias/mine" || !*rule.BucketKeyEnabled {
		t.Errorf("encryption: %+v", rule)
	}
	versioning, err := c.sdk.GetBucketVersioning(ctx, &sdk.GetBucketVersioningInput{Bucket: &h.Root})
	if err != nil || versioning.Status != types.BucketVersioningStatusEnabled {
		t.Errorf("versioning: %+v, %v", versioning, err)
	}
	lifecycle, err := c.sdk.GetBucketLifecycleConfiguration(ctx, &sdk.GetBucketLifecycleConfigurationInput{Bucket: &h.Root})
	if err != nil || *lifecycle.Rules[0].AbortIncompleteMultipartUpload.DaysAfterInitiation != 3 {
		t.Errorf("lifecycle: %+v, %v", lifecycle, err)
	}
	tags, err := c.sdk.GetBucketTagging(ctx, &sdk.GetBucketTaggingInput{Bucket: &h.Root})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, tag := range tags.TagSet {
		got[*tag.Key] = *tag.Value
	}
	for key, want := range map[string]string{backend.TagCluster: cluster, backend.TagVolumeName: "pvc-1", "owner": "me", s3.TagComplete: "true"} {
		if got[key] != want {
			t.Errorf("tag %s is %q, want %q", key, got[key], want)
		}
	}
	if v.Context["uid"] != "1000" || v.Context["umask"] != "0027" || !v.MultiNode {
		t.Errorf("volume: %+v", v)
	}
	mustDelete(t, c.backend(), v.Handle)
}

// TestBackend_NameOfAnotherAccount makes nothing and touches nothing.
func TestBackend_NameOfAnotherAccount(t *testing.T) {
	c := newCloud(t)
	first := mustCreate(t, c.backend(), "pvc-1", nil)
	mustDelete(t, c.backend(), first.Handle)
	name := strings.TrimPrefix(first.Handle, "s3://")
	if err := c.TakeBucket(name, "123456789012"); err != nil {
		t.Fatal(err)
	}
	_, err := c.backend().Create(t.Context(), request("pvc-1", nil))
	wantFault(t, err, fault.Conflict, "taken by another account")
	_, err = c.backend().Delete(t.Context(), first.Handle)
	wantFault(t, err, fault.Denied, "another account")
	_, err = c.backend().Create(t.Context(), request("pvc-2", map[string]string{"bucket": name}))
	wantFault(t, err, fault.Denied, "another account than 000000000000")
}

// TestBackend_NameOfAnother is a bucket of ours by name that carries other tags, or objects.
func TestBackend_NameOfAnother(t *testing.T) {
	c := newCloud(t)
	v := mustCreate(t, c.backend(), "pvc-1", nil)
	mustDelete(t, c.backend(), v.Handle)
	name := c.bucket(strings.TrimPrefix(v.Handle, "s3://"))
	c.put(name, "precious")
	_, err := c.backend().Create(t.Context(), request("pvc-1", nil))
	wantFault(t, err, fault.Conflict, "holds objects")
	if got := c.keys(name); !slices.Equal(got, []string{"precious"}) {
		t.Errorf("the bucket holds %v", got)
	}
	if _, err := c.sdk.PutBucketTagging(t.Context(), &sdk.PutBucketTaggingInput{Bucket: &name, Tagging: &types.Tagging{
		TagSet: []types.Tag{{Key: sdkaws.String("team"), Value: sdkaws.String("a")}},
	}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.backend().Create(t.Context(), request("pvc-1", nil))
	wantFault(t, err, fault.Conflict, "is not this volume's")
}

// TestBackend_OtherParametersUnderOneName are a conflict.
func TestBackend_OtherParametersUnderOneName(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	for _, tc := range []struct{ first, then map[string]string }{
		{nil, map[string]string{"versioning": "true"}},
		{map[string]string{"bucket": shared}, map[string]string{"bucket": shared, "onDelete": "retain"}},
	} {
		v := mustCreate(t, c.backend(), "pvc-1", tc.first)
		_, err := c.backend().Create(t.Context(), request("pvc-1", tc.then))
		wantFault(t, err, fault.Conflict, "other parameters")
		mustDelete(t, c.backend(), v.Handle)
	}
}

// rival is an S3 on which somebody else is a moment faster.
type rival struct {
	s3.API

	before func()
}

func (r *rival) PutObject(ctx context.Context, bucket, key string, data []byte, only bool) error {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	return r.API.PutObject(ctx, bucket, key, data, only)
}

// TestBackend_TwoClustersAskForOnePrefix at one time: one of them gets it.
func TestBackend_TwoClustersAskForOnePrefix(t *testing.T) {
	c := newCloud(t)
	in := map[string]string{"bucket": c.bucket("shared-bucket")}
	open := servers(c.config())
	slower := s3.New(s3.Options{
		Owner: backend.Owner{Driver: s3.DefaultDriver, Cluster: "slower"}, Profiles: []string{""},
		Servers: func(profile string, k *volume.ObjectCredentials) (s3.API, error) {
			api, err := open(profile, k)
			return &rival{API: api, before: func() { mustCreate(t, c.backend(), "pvc-1", in) }}, err
		},
	})
	_, err := slower.Create(t.Context(), request("pvc-1", in))
	wantFault(t, err, fault.Conflict, "already used")
	mustDelete(t, c.backend(), mustCreate(t, c.backend(), "pvc-1", in).Handle)
}

// TestBackend_BadInput names the field and the fix, and makes nothing.
func TestBackend_BadInput(t *testing.T) {
	c := newCloud(t)
	for name, tc := range map[string]struct {
		parameters map[string]string
		text       string
	}{
		"unknown parameter":               {map[string]string{"buket": "x"}, `did you mean "bucket"`},
		"illegal bucket name":             {map[string]string{"bucket": "No_Bucket"}, "not a legal bucket name"},
		"directory bucket":                {map[string]string{"bucket": "some--use1-az1--x-s3"}, "reserved by S3"},
		"illegal beginning of a name":     {map[string]string{"bucketNamePrefix": "Team_A"}, "bucketNamePrefix"},
		"beginning of a name is too long": {map[string]string{"bucketNamePrefix": strings.Repeat("a", 50)}, "leaves no room"},
		"reserved beginning of a name":    {map[string]string{"bucketNamePrefix": "xn--a"}, "reserved by S3"},
		"unknown endpoint profile":        {map[string]string{"endpointProfile": "minio"}, "--s3-profiles"},
		"malformed endpoint profile":      {map[string]string{"endpointProfile": "Min IO"}, "not the name of an endpoint profile"},
		"malformed region":                {map[string]string{"region": "us east"}, "not a region"},
		"marker's place":                  {map[string]string{"bucket": "some-bucket", "basePrefix": ".diskbridge/x"}, "keeps its markers"},
		"prefix that leaves the bucket":   {map[string]string{"bucket": "some-bucket", "basePrefix": "a/../b"}, "basePrefix"},
		"prefix without a bucket":         {map[string]string{"basePrefix": "a"}, "basePrefix has no meaning with no bucket"},
		"two keys for encryption":         {map[string]string{"encryption": "sse-s3", "kmsKeyId": "k"}, "contradict"},
		"key for a given bucket":          {map[string]string{"bucket": "some-bucket", "kmsKeyId": "k"}, "kmsKeyId has no meaning with bucket"},
		"versions in a given bucket":      {map[string]string{"bucket": "some-bucket", "versioning": "true"}, "versioning has no meaning"},
		"tags for a given bucket":         {map[string]string{"bucket": "some-bucket", "tagSpecification_1": "a=b"}, "only new buckets are tagged"},
		"adoption of another kind":        {map[string]string{"existingResourceId": "vol-01234567"}, "is not s3://bucket"},
		"user that is no number":          {map[string]string{"uid": "root"}, `uid: "root"`},
		"mask that is no mask":            {map[string]string{"umask": "rwx"}, `umask: "rwx"`},
		"cache that is too small":         {map[string]string{"cacheSizeMiB": "1"}, "number of MiB"},
		"fate":                            {map[string]string{"onDelete": "archive"}, "not one of delete, retain"},
		"days":                            {map[string]string{"abortUploadsAfterDays": "99999"}, "more than 3650"},
		"reserved tag":                    {map[string]string{"tagSpecification_1": "diskbridge.io/cluster=x"}, "reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.backend().Create(t.Context(), request("pvc-1", tc.parameters))
			wantFault(t, err, fault.Invalid, tc.text)
		})
	}
	block := request("pvc-1", nil)
	block.Capabilities = []volume.Capability{{Mode: volume.SingleNodeWriter, Block: true}}
	_, err := c.backend().Create(t.Context(), block)
	wantFault(t, err, fault.Invalid, "volumeMode: Filesystem")
	option := request("pvc-1", nil)
	option.Capabilities = []volume.Capability{{Mode: volume.SingleNodeWriter, MountFlags: []string{"passwd_file=/etc/shadow"}}}
	_, err = c.backend().Create(t.Context(), option)
	wantFault(t, err, fault.Invalid, "node-stage-secret-name")
	source := request("pvc-1", nil)
	source.Source.Volume = "s3://other"
	_, err = c.backend().Create(t.Context(), source)
	wantFault(t, err, fault.Invalid, "no snapshots and clones")
	_, err = c.backend().Delete(t.Context(), "s3://minio@some-bucket")
	wantFault(t, err, fault.Invalid, `unknown endpoint profile "minio"`)
	_, err = c.backend().Get(t.Context(), "s3://minio@some-bucket/prod/")
	wantFault(t, err, fault.Invalid, `unknown endpoint profile "minio"`)
	_, err = c.backend().Create(t.Context(), request("pvc-1", map[string]string{"bucket": "missing-bucket"}))
	wantFault(t, err, fault.NotFound, "missing-bucket")
	var noFault *fault.Error
	if left := c.left(); len(left) > 0 || !errors.As(err, &noFault) {
		t.Errorf("left %v", left)
	}
}
