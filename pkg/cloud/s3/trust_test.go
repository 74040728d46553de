package s3_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// TestClient_TrustsTheProfilesCA asks a server whose certificate nobody else vouches for.
func TestClient_TrustsTheProfilesCA(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<ListAllMyBucketsResult><Buckets><Bucket><Name>one-bucket</Name></Bucket></Buckets></ListAllMyBucketsResult>`))
	}))
	defer server.Close()
	cfg := sdkaws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), RetryMaxAttempts: 1}
	client := func(ca []byte) (*s3.Client, error) {
		return s3.New(cfg, s3.Options{Endpoint: &s3.Endpoint{Name: "corp", URL: server.URL, Region: "corp-north-1", PathStyle: true, CA: ca}})
	}
	trusting, err := client(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if err != nil {
		t.Fatal(err)
	}
	if buckets, _, err := trusting.BucketPage(t.Context(), ""); err != nil || len(buckets) != 1 {
		t.Errorf("%v, %v", buckets, err)
	}
	strange, err := client(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := strange.BucketPage(t.Context(), ""); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its CA: %v (%v)", err, fault.KindOf(err))
	}
	if _, err := client([]byte("no certificate")); err == nil || !strings.Contains(err.Error(), "endpoint profile corp: its CA holds no certificate") {
		t.Errorf("a CA that is none: %v", err)
	}
}
