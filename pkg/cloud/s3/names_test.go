package s3_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
)

// TestClient_NamesThatXMLCannotWrite lists and deletes a key as AWS shows it, with a character that XML does not have.
func TestClient_NamesThatXMLCannotWrite(t *testing.T) {
	const shown = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.EscapedPath()+" "+r.URL.Query().Get("versionId")+string(body))
		mu.Unlock()
		switch q := r.URL.Query(); {
		case r.Method == http.MethodGet && q.Get("encoding-type") != "url":
			t.Errorf("%s asks for names as XML has them", r.URL)
		case q.Has("versions"):
			_, _ = io.WriteString(w, "<ListVersionsResult>"+shown+"<Version><Key>d/%01a+b%2Bc</Key><VersionId>1</VersionId></Version>"+
				"<DeleteMarker><Key>d/%E2%82%AC</Key><VersionId>2</VersionId></DeleteMarker></ListVersionsResult>")
		case q.Has("uploads"):
			_, _ = io.WriteString(w, "<ListMultipartUploadsResult>"+shown+"<Upload><Key>d/%01a</Key><UploadId>3</UploadId></Upload></ListMultipartUploadsResult>")
		case q.Has("list-type"):
			_, _ = io.WriteString(w, "<ListBucketResult>"+shown+"<Contents><Key>d/%01a</Key></Contents></ListBucketResult>")
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, "<DeleteResult></DeleteResult>")
		}
	}))
	defer server.Close()
	c, err := s3.New(sdkaws.Config{Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")},
		s3.Options{Endpoint: &s3.Endpoint{Name: "own", URL: server.URL, Region: "us-east-1", PathStyle: true}})
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.VersionPage(t.Context(), "bucket", "d/", s3.VersionPage{})
	if want := []s3.Version{{Key: "d/\x01a b+c", ID: "1"}, {Key: "d/€", ID: "2"}}; err != nil || !slices.Equal(page.Versions, want) {
		t.Errorf("versions %q, %v", page.Versions, err)
	}
	if keys, _, err := c.Keys(t.Context(), "bucket", "d/", "", 1); err != nil || !slices.Equal(keys, []string{"d/\x01a"}) {
		t.Errorf("keys %q, %v", keys, err)
	}
	if uploads, err := c.Uploads(t.Context(), "bucket", "d/"); err != nil || len(uploads) != 1 || uploads[0].Key != "d/\x01a" {
		t.Errorf("uploads %q, %v", uploads, err)
	}
	asked = nil
	if refused, err := c.DeleteVersions(t.Context(), "bucket", page.Versions); err != nil || len(refused) > 0 {
		t.Errorf("refused %v, %v", refused, err)
	}
	if len(asked) != 2 || asked[0] != "DELETE /bucket/d/%01a%20b%2Bc 1" || !strings.Contains(asked[1], "<Key>d/€</Key>") || strings.Contains(asked[1], "\ufffd") {
		t.Errorf("asked for %q", asked)
	}
}
