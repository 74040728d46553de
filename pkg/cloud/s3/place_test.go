package s3_test

import (
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
