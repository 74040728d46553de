package efs

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// TestClient_TakesNoWebPageForEFS: the SDK does not even look at the answer to a deletion.
func TestClient_TakesNoWebPageForEFS(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<html><body>Sign in to the network</body></html>"))
	}))
	defer server.Close()
	s, err := aws.NewExplicitSession(aws.Explicit{Region: "us-east-1", AccessKeyID: "test", SecretAccessKey: "secret", EC2: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := New(s.Config(), Options{})
	defer c.Close()
	if err := c.DeleteFileSystem(t.Context(), "fs-1"); !fault.Is(err, fault.UnknownOutcome) {
		t.Errorf("deleted: %v", err)
	}
}
