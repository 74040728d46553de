package resign_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"testing"
)

// TestPolicy_IsWhatMountsMayAsk asks for all that the proxy lets through, and compares what that needs with the mounter's policy:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func TestPolicy_IsWhatMountsMayAsk(t *testing.T) {
	text, err := os.ReadFile("../../deploy/iam/s3-mounter.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	var allowed []string
	for _, s := range policy.Statement {
		allowed = append(allowed, s.Action...)
	}
	slices.Sort(allowed)
	var needed []string
	door := listen(t, newBucket(t, nil).target(t), lasting).Door()
	for _, ask := range []struct{ method, path, action string }{
		{"HEAD", "/mine", "s3:ListBucket"},
		{"GET", "/mine/?prefix=a", "s3:ListBucket"},
		{"GET", "/mine/?list-type=2&continuation-token=a", "s3:ListBucket"},
		{"GET", "/mine/?location", "s3:GetBucketLocation"},
		{"GET", "/mine/?uploads&key-marker=a", "s3:ListBucketMultipartUploads"},
		{"GET", "/mine/a", "s3:GetObject"},
		{"HEAD", "/mine/a", "s3:GetObject"},
		{"PUT", "/mine/a", "s3:PutObject"},
		{"POST", "/mine/a?uploads", "s3:PutObject"},
		{"PUT", "/mine/a?partNumber=1&uploadId=a", "s3:PutObject"},
		{"POST", "/mine/a?uploadId=a", "s3:PutObject"},
		{"GET", "/mine/a?uploadId=a&max-parts=9", "s3:ListMultipartUploadParts"},
		{"DELETE", "/mine/a?uploadId=a", "s3:AbortMultipartUpload"},
		{"DELETE", "/mine/a", "s3:DeleteObject"},
	} {
		if status, text := (request{method: ask.method, path: ask.path, door: door}).do(t); status != http.StatusOK {
			t.Errorf("%s %s: %d %s", ask.method, ask.path, status, text)
		}
		needed = append(needed, ask.action)
	}
	slices.Sort(needed)
	if needed = slices.Compact(needed); !slices.Equal(needed, allowed) {
		t.Errorf("needed %v, allowed %v", needed, allowed)
	}
}
