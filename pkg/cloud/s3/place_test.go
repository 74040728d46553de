package s3_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
)

func TestClient_Place(t *testing.T) {
	cfg := sdkaws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")}
	for name, tc := range map[string]struct {
		endpoint *s3.Endpoint
		bucket   string
		url      string
	}{
		"in the host":         {&s3.Endpoint{URL: "https://storage.example.com", Region: "r1", Owner: "1"}, "one-bucket", "https://one-bucket.storage.example.com"},
		"in the path":         {&s3.Endpoint{URL: "https://minio:9000", Region: "r1", PathStyle: true, Owner: "1"}, "one-bucket", "https://minio:9000/one-bucket"},
		"a name with dots":    {&s3.Endpoint{URL: "https://storage.example.com", Region: "r1", Owner: "1"}, "one.bucket", "https://storage.example.com/one.bucket"},
		"an address of bytes": {&s3.Endpoint{URL: "http://127.0.0.1:9000", Region: "r1", Owner: "1"}, "one-bucket", "http://127.0.0.1:9000/one-bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := s3.New(cfg, s3.Options{Endpoint: tc.endpoint})
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.Place(t.Context(), tc.bucket)
			if err != nil {
				t.Fatal(err)
			}
			if p.URL.String() != tc.url || p.Region != "r1" || p.Owner != "1" || p.Credentials == nil {
				t.Errorf("%+v, want %s", p, tc.url)
			}
		})
	}
}

// TestClient_FindsTheRegion asks for a bucket in a region where it is not, as a volume written by hand may have it done.
func TestClient_FindsTheRegion(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("X-Amz-Bucket-Region", "eu-west-1")
		if !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/s3/") {
			w.WriteHeader(http.StatusMovedPermanently)
			_, _ = io.WriteString(w, "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>")
			return
		}
		_, _ = io.WriteString(w, "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>")
	}))
	defer server.Close()
	c, err := s3.New(sdkaws.Config{Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")},
		s3.Options{Endpoint: &s3.Endpoint{Name: "aws", URL: server.URL, Region: "us-east-1", PathStyle: true}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if keys, _, err := c.Keys(t.Context(), "bucket", "", "", 1); err != nil || len(keys) != 1 {
			t.Errorf("%v, %v", keys, err)
		}
	}
	if p, err := c.Place(t.Context(), "bucket"); err != nil || p.Region != "eu-west-1" || asked != 3 {
		t.Errorf("%+v (%v) after %d requests", p, err, asked)
	}
}
