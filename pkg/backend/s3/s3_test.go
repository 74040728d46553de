package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/backendtest"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	client "github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const cluster = "test-cluster"

// TestMain gives every test the emulator's credentials; its endpoint is each test's own.
func TestMain(m *testing.M) {
	for k, v := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
	} {
		if err := os.Setenv(k, v); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// cloud is an emulator with an S3 server behind it, and AWS's own client on it.
type cloud struct {
	*emulator.Server
	t   *testing.T
	sdk *sdk.Client
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	server, err := emulator.Start(t.Context(), emulator.Options{S3Server: s3test.Program(t), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{Server: server, t: t}
	c.sdk = sdk.NewFromConfig(c.config())
	return c
}

func (c *cloud) config() sdkaws.Config {
	c.t.Helper()
	session, err := aws.NewSession(c.t.Context(), aws.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	config, endpoint := session.Config(), c.Endpoint()
	config.BaseEndpoint = &endpoint
	return config
}

// backendOf is the backend of a cluster; each has a client of its own, as after a restart.
func (c *cloud) backendOf(cluster string) *s3.Backend {
	config := c.config()
	absences := aws.NewAbsences(50 * time.Millisecond)
	return s3.New(s3.Options{
		Owner: backend.Owner{Driver: s3.DefaultDriver, Cluster: cluster}, Profiles: []string{""},
		Servers: func(_ string, k *volume.ObjectCredentials) (s3.API, error) {
			opts := client.Options{Absences: absences}
			if k != nil {
				opts.Credentials = &client.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
			}
			return client.New(config, opts)
		},
	})
}

func (c *cloud) backend() *s3.Backend { return c.backendOf(cluster) }

// bucket makes a bucket that is not ours.
func (c *cloud) bucket(name string) string {
	c.t.Helper()
	if _, err := c.sdk.CreateBucket(c.t.Context(), &sdk.CreateBucketInput{Bucket: &name}); err != nil {
		c.t.Fatal(err)
	}
	return name
}

// put writes objects as a user does.
func (c *cloud) put(bucket string, keys ...string) {
	c.t.Helper()
	for _, key := range keys {
		if _, err := c.sdk.PutObject(c.t.Context(), &sdk.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte("data"))}); err != nil {
			c.t.Fatalf("put %s: %v", key, err)
		}
	}
}

// keys are the objects of a bucket, without versions.
func (c *cloud) keys(bucket string) []string {
	c.t.Helper()
	var keys []string
	pages := sdk.NewListObjectsV2Paginator(c.sdk, &sdk.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	return keys
}

// left is everything that the account holds, beside what the test itself made.
func (c *cloud) left(own ...string) []string {
	return slices.DeleteFunc(slices.Clone(c.State().Buckets), func(name string) bool { return slices.Contains(own, name) })
}

var capability = volume.Capability{Mode: volume.MultiNodeMultiWriter}

func request(name string, parameters map[string]string) volume.CreateRequest {
	return volume.CreateRequest{Name: name, Range: volume.Range{RequiredBytes: volume.GiB}, Capabilities: []volume.Capability{capability}, Parameters: parameters}
}

func mustCreate(t *testing.T, b backend.Backend, name string, parameters map[string]string) volume.Volume {
	t.Helper()
	v, err := b.Create(t.Context(), request(name, parameters))
	if err != nil {
		t.Fatalf("Create(%s): %v", name, err)
	}
	return v
}

func mustDelete(t *testing.T, b backend.Backend, handle string) {
	t.Helper()
	if kept, err := b.Delete(t.Context(), handle); err != nil || kept != "" {
		t.Fatalf("Delete(%s): kept %q, %v", handle, kept, err)
	}
}

func wantFault(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("%v (kind %v), want kind %v with %q", err, fault.KindOf(err), kind, text)
	}
}

func TestBackend_Buckets(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		c := newCloud(t)
		return backendtest.Fixture{
			Backend: c.backend(), Capability: capability, Missing: "s3://never-was-0123456789abcdef",
			Restart: func() backend.Backend { return c.backend() },
			Foreign: func() string { return "s3://" + c.bucket("somebody-elses") },
			Left:    func() []string { return c.left("somebody-elses") },
		}
	})
}

func TestBackend_Prefixes(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		c := newCloud(t)
		shared := c.bucket("shared-bucket")
		return backendtest.Fixture{
			Backend: c.backend(), Capability: capability, Missing: "s3://shared-bucket/never/",
			Parameters: map[string]string{"bucket": shared, "basePrefix": "volumes"},
			Restart:    func() backend.Backend { return c.backend() },
			Foreign:    func() string { c.put(shared, "theirs/data"); return "s3://shared-bucket/theirs/" },
			Left: func() []string {
				return slices.DeleteFunc(c.keys(shared), func(key string) bool { return strings.HasPrefix(key, "theirs/") })
			},
		}
	})
}

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

// TestBackend_DeleteTouchesNoNeighbour deletes prod/ beside prod-2/ and prod itself.
func TestBackend_DeleteTouchesNoNeighbour(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	b := c.backend()
	prod := mustCreate(t, b, "prod", map[string]string{"bucket": shared})
	other := mustCreate(t, b, "prod-2", map[string]string{"bucket": shared})
	if prod.Handle != "s3://shared-bucket/prod/" || other.Handle != "s3://shared-bucket/prod-2/" {
		t.Fatalf("handles %s, %s", prod.Handle, other.Handle)
	}
	c.put(shared, "prod/a", "prod/b/c", "prod-2/a", "prod-2/b/c", "prod.txt", "product/x")
	mustDelete(t, b, prod.Handle)
	want := []string{volume.ObjectMarker("prod-2/"), "prod-2/", "prod-2/a", "prod-2/b/c", "prod.txt", "product/x"}
	got := c.keys(shared)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

// TestBackend_HandWrittenVolumeLosesNothing deletes a prefix that nobody marked.
func TestBackend_HandWrittenVolumeLosesNothing(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	c.put(shared, "prod/a")
	_, err := c.backend().Delete(t.Context(), "s3://shared-bucket/prod/")
	wantFault(t, err, fault.InUse, "no marker")
	_, err = c.backend().Delete(t.Context(), "s3://shared-bucket")
	wantFault(t, err, fault.InUse, "put-bucket-tagging --bucket shared-bucket")
	if got := c.keys(shared); !slices.Equal(got, []string{"prod/a"}) {
		t.Errorf("left %v", got)
	}
}

// TestBackend_AnotherClustersVolume is refused.
func TestBackend_AnotherClustersVolume(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	theirs := c.backendOf("other")
	for _, parameters := range []map[string]string{nil, {"bucket": shared}} {
		v := mustCreate(t, theirs, "pvc-1", parameters)
		_, err := c.backend().Delete(t.Context(), v.Handle)
		wantFault(t, err, fault.InUse, `cluster "other"`)
		if parameters != nil {
			_, err = c.backend().Create(t.Context(), request("pvc-1", parameters))
			wantFault(t, err, fault.Conflict, `cluster "other"`)
		}
		mustDelete(t, theirs, v.Handle)
	}
}

// TestBackend_Retain keeps what it was told to keep.
func TestBackend_Retain(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	for _, parameters := range []map[string]string{{"onDelete": "retain"}, {"onDelete": "retain", "bucket": shared}} {
		v := mustCreate(t, c.backend(), "pvc-1", parameters)
		h, _ := volume.ParseHandle(v.Handle)
		c.put(h.Root, h.Path+"a")
		kept, err := c.backend().Delete(t.Context(), v.Handle)
		if err != nil || !strings.Contains(kept, "retain") || !slices.Contains(c.keys(h.Root), h.Path+"a") {
			t.Errorf("kept %q, %v, left %v", kept, err, c.keys(h.Root))
		}
	}
}

// TestBackend_Adopt uses what exists and never deletes it.
func TestBackend_Adopt(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	c.put(shared, "prod/a")
	if _, err := c.sdk.PutBucketTagging(t.Context(), &sdk.PutBucketTaggingInput{Bucket: &shared, Tagging: &types.Tagging{
		TagSet: []types.Tag{{Key: sdkaws.String("team"), Value: sdkaws.String("a")}},
	}}); err != nil {
		t.Fatal(err)
	}
	for existing, deletions := range map[string]int{"s3://shared-bucket": 2, "s3://shared-bucket/prod/": 1} {
		parameters := map[string]string{"existingResourceId": existing}
		for range 2 {
			if v := mustCreate(t, c.backend(), "pvc-1", parameters); v.Handle != existing {
				t.Errorf("handle %s, want %s", v.Handle, existing)
			}
		}
		_, err := c.backend().Create(t.Context(), request("pvc-2", parameters))
		wantFault(t, err, fault.Conflict, "already used")
		for range deletions { // the answer to the first may be lost
			kept, err := c.backend().Delete(t.Context(), existing)
			if err != nil || !strings.Contains(kept, "adopted") {
				t.Errorf("kept %q, %v", kept, err)
			}
		}
		mustCreate(t, c.backend(), "pvc-2", parameters) // the adoption is forgotten
		if kept, err := c.backend().Delete(t.Context(), existing); err != nil || kept == "" {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
	if got := c.keys(shared); !slices.Equal(got, []string{"prod/", "prod/a"}) { // s3fs takes prod/ for the directory
		t.Errorf("left %v", got)
	}
	tags, err := c.sdk.GetBucketTagging(t.Context(), &sdk.GetBucketTaggingInput{Bucket: &shared})
	if err != nil || len(tags.TagSet) != 2 || !slices.ContainsFunc(tags.TagSet, func(t types.Tag) bool { return *t.Key == "team" }) {
		t.Errorf("tags %+v, %v", tags, err)
	}
	_, err = c.backend().Create(t.Context(), request("pvc-3", map[string]string{"existingResourceId": "s3://shared-bucket/nothing/"}))
	wantFault(t, err, fault.NotFound, "nothing lies under")
	_, err = c.backend().Create(t.Context(), request("pvc-3", map[string]string{"existingResourceId": "s3://missing-bucket"}))
	wantFault(t, err, fault.NotFound, "missing-bucket")
}

// TestBackend_VolumesInsideVolumes are neither made nor deleted with one another.
func TestBackend_VolumesInsideVolumes(t *testing.T) {
	c := newCloud(t)
	b := c.backend()
	outer := mustCreate(t, b, "outer", nil)
	bucket := strings.TrimPrefix(outer.Handle, "s3://")
	inner := mustCreate(t, b, "inner", map[string]string{"bucket": bucket})
	_, err := b.Delete(t.Context(), outer.Handle)
	wantFault(t, err, fault.InUse, "prefixes lie in the bucket")
	_, err = b.Create(t.Context(), request("deep", map[string]string{"bucket": bucket, "basePrefix": "inner"}))
	wantFault(t, err, fault.Conflict, `lies inside inner/`)
	mustDelete(t, b, inner.Handle)
	mustDelete(t, b, outer.Handle)
	if left := c.left(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestBackend_Credentials takes those of a secret, and says when they are wrong.
func TestBackend_Credentials(t *testing.T) {
	c := newCloud(t)
	own, err := c.backend().With(map[string]string{"accessKeyID": "test", "secretAccessKey": "test"})
	if err != nil {
		t.Fatal(err)
	}
	v := mustCreate(t, own, "pvc-1", nil)
	if v.Context[volume.ContextCredentials] != "secret" {
		t.Errorf("context %v does not ask for a secret", v.Context)
	}
	mustDelete(t, own, v.Handle)
	wrong, err := c.backend().With(map[string]string{"accessKeyID": "test", "secretAccessKey": "not-the-secret"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Create(t.Context(), request("pvc-1", nil))
	if !fault.Is(err, fault.Denied) || strings.Contains(err.Error(), "not-the-secret") {
		t.Errorf("wrong secret: %v", err)
	}
	_, err = c.backend().With(map[string]string{"accessKeyID": "test"})
	wantFault(t, err, fault.Invalid, "secretAccessKey is missing")
	_, err = c.backend().With(map[string]string{"accessKeyID": "test", "secretAccessKey": "x", "endpoint": "http://x"})
	wantFault(t, err, fault.Invalid, "endpoint profile")
}

// TestBackend_ObjectLock is respected: the volume stays, with what is locked in it.
func TestBackend_ObjectLock(t *testing.T) {
	c := newCloud(t)
	ctx := t.Context()
	v := mustCreate(t, c.backend(), "pvc-1", nil)
	mustDelete(t, c.backend(), v.Handle)
	bucket := strings.TrimPrefix(v.Handle, "s3://")
	if _, err := c.sdk.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: &bucket, ObjectLockEnabledForBucket: sdkaws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c.backend(), "pvc-1", nil) // empty and ours by name
	until := time.Now().Add(time.Hour)
	key := "locked"
	if _, err := c.sdk.PutObject(ctx, &sdk.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte("data")), ObjectLockMode: types.ObjectLockModeGovernance, ObjectLockRetainUntilDate: &until,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	}); err != nil {
		t.Fatal(err)
	}
	_, err := c.backend().Delete(ctx, v.Handle)
	wantFault(t, err, fault.InUse, "object lock")
	if got := c.keys(bucket); !slices.Equal(got, []string{"locked"}) {
		t.Errorf("left %v", got)
	}
}

// TestBackend_DeleteManyVersions deletes 1,000 objects, each with an older version and
// some with a delete marker, and unfinished uploads, in calls that end early.
func TestBackend_DeleteManyVersions(t *testing.T) {
	c := newCloud(t)
	ctx := t.Context()
	b := c.backend()
	v := mustCreate(t, b, "pvc-1", map[string]string{"versioning": "true"})
	bucket := strings.TrimPrefix(v.Handle, "s3://")
	for i := range 500 {
		key := fmt.Sprintf("dir-%d/object-%d", i%7, i)
		c.put(bucket, key, key)
		if i%10 == 0 {
			if _, err := c.sdk.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 {
		key := fmt.Sprintf("upload-%d", i)
		if _, err := c.sdk.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	// The first deletion is refused, the second one's answer is lost, and the process dies each time.
	if err := c.AddFaults(
		emulator.Fault{Operation: "s3:DeleteObjects", Nth: 1, Effect: "refuse", Code: "InternalError"},
		emulator.Fault{Operation: "s3:DeleteBucket", Nth: 1, Effect: "refuse", Code: "OperationAborted"},
	); err != nil {
		t.Fatal(err)
	}
	calls := 1
	for ; ; calls++ {
		kept, err := c.backend().Delete(ctx, v.Handle)
		if err == nil && kept == "" {
			break
		}
		if k := fault.KindOf(err); calls > 10 || k != fault.Pending && k != fault.UnknownOutcome {
			t.Fatalf("call %d: kept %q, %v", calls, kept, err)
		}
	}
	if calls == 1 {
		t.Error("the faults were not felt")
	}
	if left := c.left(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	mustDelete(t, b, v.Handle)
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
	_, err = c.backend().Create(t.Context(), request("pvc-1", map[string]string{"bucket": "missing-bucket"}))
	wantFault(t, err, fault.NotFound, "missing-bucket")
	var noFault *fault.Error
	if left := c.left(); len(left) > 0 || !errors.As(err, &noFault) {
		t.Errorf("left %v", left)
	}
}
