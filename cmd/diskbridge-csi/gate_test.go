package main

import (
	"testing"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/objectmount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestGate_OpensAgainWithoutAnAnswer brings a way back, as after a crash, while nobody answers: the program that runs must not
// be ended because AWS is away.
func TestGate_OpensAgainWithoutAnAnswer(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent",
	} {
		t.Setenv(name, value)
	}
	session, err := aws.NewSession(t.Context(), aws.Options{Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t.Context(), session, nil)
	defer func() {
		if err := g.closeAll(); err != nil {
			t.Error(err)
		}
	}()
	plan := volume.ObjectPlan{Handle: "s3://bucket", Bucket: "bucket", Region: "us-east-1"}
	if _, err := g.Open(t.Context(), "m", plan, nil, nil); err == nil {
		t.Fatal("a new way is open although nobody answers")
	}
	last := objectmount.Access{URL: "http://127.0.0.1:0", Region: "us-east-1", PathStyle: true, Owner: "123456789012", AccessKeyID: "key", SecretAccessKey: "hush"}
	got, err := g.Open(t.Context(), "m", plan, nil, &last)
	if err != nil || got.Owner != last.Owner || got.AccessKeyID != "key" || got.SecretAccessKey != "hush" {
		t.Errorf("%+v, %v", got, err)
	}
}
