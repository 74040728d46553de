package emulator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
)

// buckets is an emulator with S3, and AWS's client on it.
func buckets(t *testing.T) (*emulator.Server, *s3.Client) {
	t.Helper()
	server, err := emulator.Start(t.Context(), emulator.Options{S3Server: s3test.Program(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, s3.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider("test", "test", "")))
}

func signedBy(server *emulator.Server, who sdkaws.CredentialsProvider) sdkaws.Config {
	return sdkaws.Config{Region: "us-east-1", BaseEndpoint: sdkaws.String(server.Endpoint()), Credentials: who, RetryMaxAttempts: 1}
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func mustMakeBucket(t *testing.T, c *s3.Client, name string) {
	t.Helper()
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
}

func write(ctx context.Context, c *s3.Client, bucket, key string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte("hello"))})
	return err
}

func TestS3_ObjectsComeBack(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	mustMakeBucket(t, c, "one-bucket") // in us-east-1 that is a success
	if err := write(t.Context(), c, "one-bucket", "a/b c+d"); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: sdkaws.String("one-bucket"), Key: sdkaws.String("a/b c+d")})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(out.Body); err != nil || string(data) != "hello" {
		t.Errorf("%q, %v", data, err)
	}
	if calls := server.Calls(); calls["s3:PutObject"].OK != 1 || calls["s3:CreateBucket"].OK != 2 {
		t.Errorf("calls %v", calls)
	}
	if err := server.Reset(t.Context()); err != nil || len(server.State().Buckets) != 0 {
		t.Errorf("after the reset: %v, %v", server.State().Buckets, err)
	}
}

func TestS3_SignaturesAreChecked(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	for name, tc := range map[string]struct {
		key, secret, code string
	}{
		"wrong secret": {"test", "wrong", "SignatureDoesNotMatch"},
		"unknown key":  {"AKIAUNKNOWN", "test", "InvalidAccessKeyId"},
	} {
		t.Run(name, func(t *testing.T) {
			other := s3.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider(tc.key, tc.secret, "")))
			if err := write(t.Context(), other, "one-bucket", "a"); codeOf(err) != tc.code {
				t.Errorf("an object of the server behind: %v, want %s", err, tc.code)
			}
			_, err := other.GetPublicAccessBlock(t.Context(), &s3.GetPublicAccessBlockInput{Bucket: sdkaws.String("one-bucket")})
			if codeOf(err) != tc.code {
				t.Errorf("what is answered in front: %v, want %s", err, tc.code)
			}
		})
	}
}

func TestS3_TemporaryCredentials(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	session, err := sts.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider("test", "test", ""))).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: sdkaws.String("arn:aws:iam::000000000000:role/r"), RoleSessionName: sdkaws.String("s"), DurationSeconds: sdkaws.Int32(900),
	})
	if err != nil {
		t.Fatal(err)
	}
	k := session.Credentials
	temporary := s3.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken)))
	if err := write(t.Context(), temporary, "one-bucket", "a"); err != nil {
		t.Error(err)
	}
	forged := s3.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider(*k.AccessKeyId, "wrong", *k.SessionToken)))
	if err := write(t.Context(), forged, "one-bucket", "a"); codeOf(err) != "SignatureDoesNotMatch" {
		t.Errorf("forged: %v", err)
	}
}

func TestS3_SessionsEnd(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	for life, code := range map[time.Duration]string{time.Hour: "", -time.Second: "ExpiredToken"} {
		k := server.Session(life)
		short := s3.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.Secret, k.SessionToken)))
		if err := write(t.Context(), short, "one-bucket", "a"); codeOf(err) != code {
			t.Errorf("a session of %s: %v, want %q", life, err, code)
		}
	}
}

func TestS3_OwnersAreKept(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	if err := server.TakeBucket("their-bucket", "123456789012"); err != nil {
		t.Fatal(err)
	}
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: sdkaws.String("their-bucket")})
	if codeOf(err) != "BucketAlreadyExists" {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := write(t.Context(), c, "their-bucket", "a"); codeOf(err) != "AccessDenied" {
		t.Errorf("another account's bucket: %v", err)
	}
	for owner, code := range map[string]string{"000000000000": "", "123456789012": "AccessDenied"} {
		_, err := c.GetBucketTagging(t.Context(), &s3.GetBucketTaggingInput{Bucket: sdkaws.String("one-bucket"), ExpectedBucketOwner: &owner})
		if got := codeOf(err); got != code && (code != "" || got != "NoSuchTagSet") {
			t.Errorf("expected owner %s: %v", owner, err)
		}
	}
}

func TestS3_ConfigurationsAreKept(t *testing.T) {
	_, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	name, ctx := sdkaws.String("one-bucket"), t.Context()
	if _, err := c.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: name}); codeOf(err) != "NoSuchLifecycleConfiguration" {
		t.Errorf("no lifecycle: %v", err)
	}
	if out, err := c.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: name}); err != nil ||
		out.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm != types.ServerSideEncryptionAes256 {
		t.Errorf("encryption of a new bucket: %+v, %v", out, err)
	}
	if _, err := c.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: name}); err != nil {
		t.Error(err)
	}
	if _, err := c.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: name}); codeOf(err) != "NoSuchPublicAccessBlockConfiguration" {
		t.Errorf("after its deletion: %v", err)
	}
	if _, err := c.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: sdkaws.String("missing-bucket")}); codeOf(err) != "NoSuchBucket" {
		t.Errorf("a missing bucket: %v", err)
	}
}

func TestS3_Faults(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	there := func(key string) bool {
		_, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: sdkaws.String("one-bucket"), Key: &key})
		return err == nil
	}
	for _, tc := range []struct {
		effect, code string
		done         bool
	}{{"refuse", "SlowDown", false}, {"throttle", "SlowDown", false}, {"fail-after", "InternalError", true}, {"drop-reply", "", true}} {
		t.Run(tc.effect, func(t *testing.T) {
			rule := emulator.Fault{Operation: "s3:PutObject", Nth: 1, Effect: faults.Effect(tc.effect)}
			if tc.effect == "refuse" || tc.effect == "fail-after" {
				rule.Code = tc.code
			}
			if err := server.AddFaults(rule); err != nil {
				t.Fatal(err)
			}
			if err := write(t.Context(), c, "one-bucket", tc.effect); err == nil || codeOf(err) != tc.code {
				t.Errorf("%v, want %q", err, tc.code)
			}
			if there(tc.effect) != tc.done {
				t.Errorf("the object is there: %v, want %v", !tc.done, tc.done)
			}
		})
	}
	t.Run("late", func(t *testing.T) {
		if err := server.AddFaults(emulator.Fault{Operation: "s3:PutObject", Nth: 1, Effect: faults.Late, DelayMS: 3_600_000}); err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		answer := make(chan error, 1)
		go func() { answer <- write(ctx, c, "one-bucket", "late") }()
		for len(server.Faults()) > 0 {
			<-time.After(10 * time.Millisecond)
		}
		leave()
		if err := <-answer; err == nil || there("late") {
			t.Errorf("the caller that left: %v, there %v", err, there("late"))
		}
		if err := server.Advance(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); !there("late"); <-time.After(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it was never done")
			}
		}
	})
	t.Run("hold-after", func(t *testing.T) {
		if err := server.AddFaults(emulator.Fault{Operation: "s3:PutObject", Nth: 1, Effect: faults.HoldAfter}); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- write(t.Context(), c, "one-bucket", "held") }()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := server.WaitHeld(ctx, "s3:PutObject"); err != nil || !there("held") {
			t.Errorf("held: %v, there %v", err, there("held"))
		}
		server.Release("*")
		if err := <-answer; err != nil {
			t.Errorf("after the release: %v", err)
		}
	})
}

// TestS3_RefusalsHaveTheirStatus injects errors of which S3's clients look at the status, too.
func TestS3_RefusalsHaveTheirStatus(t *testing.T) {
	server, c := buckets(t)
	mustMakeBucket(t, c, "one-bucket")
	for code, status := range map[string]int{
		"SlowDown": 503, "InternalError": 500, "ServiceUnavailable": 503, "RequestTimeout": 400, "RequestTimeTooSkewed": 403, "AccessDenied": 403,
		"NoSuchKey": 404, "OperationAborted": 409, "PreconditionFailed": 412, "InvalidRange": 416, "NotImplemented": 501, "EntityTooLarge": 400,
	} {
		if err := server.AddFaults(emulator.Fault{Operation: "s3:PutObject", Nth: 1, Effect: faults.Refuse, Code: code}); err != nil {
			t.Fatal(err)
		}
		err := write(t.Context(), c, "one-bucket", "a")
		var answer *awshttp.ResponseError
		if !errors.As(err, &answer) || answer.HTTPStatusCode() != status || codeOf(err) != code {
			t.Errorf("%s: %v, want %d", code, err, status)
		}
	}
}

func TestStart_S3ServerIsMissing(t *testing.T) {
	server, err := emulator.Start(t.Context(), emulator.Options{S3Server: "/nonexistent/versitygw"})
	if err == nil || !strings.Contains(err.Error(), "make versitygw") {
		t.Errorf("%v", err)
	}
	if err == nil {
		_ = server.Close()
	}
}
