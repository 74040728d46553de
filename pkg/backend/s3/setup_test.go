package s3_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	client "github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const cluster = "test-cluster"

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

// config is a session of its own with the cloud.
func (c *cloud) config() sdkaws.Config {
	c.t.Helper()
	session, err := aws.NewExplicitSession(aws.Explicit{Region: "us-east-1", AccessKeyID: "test", SecretAccessKey: "test", EC2: c.Endpoint()})
	if err != nil {
		c.t.Fatal(err)
	}
	return session.Config()
}

// backendOf is the backend of a cluster; each has a client of its own, as after a restart.
func (c *cloud) backendOf(cluster string) *s3.Backend { return c.backendOn(c.config(), cluster) }

func (c *cloud) backendOn(config sdkaws.Config, cluster string) *s3.Backend {
	return s3.New(s3.Options{Owner: backend.Owner{Driver: s3.DefaultDriver, Cluster: cluster}, Profiles: []string{""}, Servers: servers(config)})
}

// servers opens the one server; each request's own credentials get a client.
func servers(config sdkaws.Config) s3.Servers {
	absences := aws.NewAbsences(50 * time.Millisecond)
	return func(_ string, k *volume.ObjectCredentials) (s3.API, error) {
		opts := client.Options{Absences: absences}
		if k != nil {
			opts.Credentials = &client.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
		}
		return client.New(config, opts)
	}
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
