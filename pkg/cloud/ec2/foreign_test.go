package ec2

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

func session(t *testing.T, key string, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	s, err := aws.NewExplicitSession(aws.Explicit{Region: "us-east-1", AccessKeyID: key, SecretAccessKey: "secret", EC2: server.URL, IMDS: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := New(s.Config(), Options{})
	t.Cleanup(c.Close)
	return c
}

// TestClient_TakesNobodyElseForEC2: to the SDK each of these answers is a success, and volumes that are not in it are absent.
func TestClient_TakesNobodyElseForEC2(t *testing.T) {
	for name, answer := range map[string]struct{ content, body string }{
		"a web page":                   {"text/html; charset=utf-8", "<html><body>Sign in to the network</body></html>"},
		"a web page that says it not":  {"text/xml", "<!DOCTYPE html><html></html>"},
		"nothing":                      {"text/xml", ""},
		"the answer to something else": {"text/xml", "<DescribeTagsResponse></DescribeTagsResponse>"},
	} {
		t.Run(name, func(t *testing.T) {
			c := session(t, "test", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", answer.content)
				_, _ = w.Write([]byte(answer.body))
			})
			if err := c.DeleteVolume(t.Context(), "vol-1"); !fault.Is(err, fault.UnknownOutcome) || !strings.Contains(err.Error(), "answered 200 OK (text/") {
				t.Errorf("deleted: %v", err)
			}
			if list, _, err := c.VolumePage(t.Context(), ""); !fault.Is(err, fault.Unavailable) {
				t.Errorf("listed: %v, %v", list, err)
			}
		})
	}
}

// TestClient_WithoutCredentials: nothing was sent, and the error is about credentials, not about who was asked for them.
func TestClient_WithoutCredentials(t *testing.T) {
	c := session(t, "", func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) })
	err := c.DeleteVolume(t.Context(), "vol-1")
	if !fault.Is(err, fault.Unavailable) || !strings.HasPrefix(err.Error(), "DeleteVolume vol-1: there are no AWS credentials: ") || !strings.HasSuffix(err.Error(), "or from keys") {
		t.Errorf("%v (%v)", err, fault.KindOf(err))
	}
}
