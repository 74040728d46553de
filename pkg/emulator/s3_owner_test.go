package emulator_test

import (
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestS3_CopiesNameBothOwners copies with each combination of the headers that say whose the two buckets must be: a mount's
// renames have both.
func TestS3_CopiesNameBothOwners(t *testing.T) {
	const ours, theirs = "000000000000", "123456789012"
	server, c := buckets(t)
	for _, name := range []string{"from-bucket", "to-bucket"} {
		mustMakeBucket(t, c, name)
	}
	if err := server.TakeBucket("their-bucket", theirs); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), c, "from-bucket", "a b"); err != nil {
		t.Fatal(err)
	}
	session := server.Session(time.Hour)
	callers := map[string]*s3.Client{
		"lasting keys": c,
		"a session":    s3.NewFromConfig(signedBy(server, credentials.NewStaticCredentialsProvider(session.AccessKeyID, session.Secret, session.SessionToken))),
	}
	upload, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: sdkaws.String("to-bucket"), Key: sdkaws.String("parts")})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		source, owner, sourceOwner, code string
	}{
		"none is named":            {"from-bucket/a%20b", "", "", ""},
		"both are named":           {"from-bucket/a%20b", ours, ours, ""},
		"only the source's":        {"/from-bucket/a%20b", "", ours, ""},
		"only the target's":        {"from-bucket/a%20b", ours, "", ""},
		"the source's is another":  {"from-bucket/a%20b", ours, theirs, "AccessDenied"},
		"the target's is another":  {"from-bucket/a%20b", theirs, ours, "AccessDenied"},
		"another's source":         {"their-bucket/a", "", "", "AccessDenied"},
		"another's, and named so":  {"their-bucket/a", ours, theirs, "AccessDenied"},
		"a source that is missing": {"missing-bucket/a", ours, ours, "NoSuchBucket"},
	} {
		optional := func(s string) *string {
			if s == "" {
				return nil
			}
			return &s
		}
		for caller, client := range callers {
			t.Run(name+" by "+caller, func(t *testing.T) {
				_, err := client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: sdkaws.String("to-bucket"), Key: sdkaws.String("copy"),
					CopySource: &tc.source, ExpectedBucketOwner: optional(tc.owner), ExpectedSourceBucketOwner: optional(tc.sourceOwner)})
				if codeOf(err) != tc.code || (err == nil) != (tc.code == "") {
					t.Errorf("the copy: %v, want %q", err, tc.code)
				}
				_, err = client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: sdkaws.String("to-bucket"), Key: sdkaws.String("parts"), UploadId: upload.UploadId,
					PartNumber: sdkaws.Int32(1), CopySource: &tc.source, ExpectedBucketOwner: optional(tc.owner), ExpectedSourceBucketOwner: optional(tc.sourceOwner)})
				if codeOf(err) != tc.code || (err == nil) != (tc.code == "") {
					t.Errorf("the part: %v, want %q", err, tc.code)
				}
			})
		}
	}
	if calls := server.Calls(); calls["s3:CopyObject"].OK != 8 || calls["s3:UploadPartCopy"].OK != 8 {
		t.Errorf("calls %v", calls)
	}
}
