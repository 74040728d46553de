package resign_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
)

func errorBody(code string) string {
	return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" + code + "</Code><Message>text</Message></Error>"
}

// TestProxy_TransientAnswers gives s3fs what it repeats for what S3 calls transient, and everything else as it is.
func TestProxy_TransientAnswers(t *testing.T) {
	for _, tc := range []struct {
		method         string
		answer         int
		body           string
		status         int
		unchanged      bool
		text, reported string
	}{
		{http.MethodPut, 400, errorBody("RequestTimeout"), 503, false, "RequestTimeout", "RequestTimeout"},
		{http.MethodPut, 403, errorBody("RequestTimeTooSkewed"), 503, false, "its clock says", "check this machine"},
		{http.MethodGet, 409, errorBody("OperationAborted"), 503, false, "OperationAborted", "OperationAborted"},
		{http.MethodPut, 409, errorBody("ConditionalRequestConflict"), 503, false, "ConditionalRequestConflict", "ConditionalRequestConflict"},
		{http.MethodPut, 400, errorBody("SlowDown"), 503, false, "SlowDown", "SlowDown"},
		{http.MethodPut, 429, "<html>slow</html>", 503, false, "429", "429"},
		{http.MethodHead, 502, "", 503, false, "", "502"},
		{http.MethodGet, 504, "", 503, false, "504", "504"},
		{http.MethodPut, 503, errorBody("SlowDown"), 503, true, "", ""},
		{http.MethodPut, 500, errorBody("InternalError"), 500, true, "", ""},
		{http.MethodPut, 400, errorBody("EntityTooLarge"), 400, true, "", ""},
		{http.MethodPut, 403, errorBody("AccessDenied"), 403, true, "", ""},
		{http.MethodGet, 404, errorBody("NoSuchKey"), 404, true, "", ""},
		{http.MethodPut, 400, "<Other><Code>RequestTimeout</Code></Other>", 400, true, "", ""},
		{http.MethodPut, 400, "RequestTimeout", 400, true, "", ""},
		{http.MethodPut, 400, errorBody("InvalidArgument") + strings.Repeat(" ", 200<<10), 400, true, "", ""},
		{http.MethodGet, 200, errorBody("SlowDown"), 200, true, "", ""}, // an object that looks like an error
		{http.MethodPut, 412, errorBody("PreconditionFailed"), 412, true, "", ""},
	} {
		t.Run(fmt.Sprintf("%s %d %.80s", tc.method, tc.answer, tc.body), func(t *testing.T) {
			b := newBucket(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.answer)
				_, _ = io.WriteString(w, tc.body)
			})
			target := b.target(t)
			reported := reports(&target)
			status, text := request{method: tc.method, path: "/mine/a", door: listen(t, target, lasting).Door()}.do(t)
			if status != tc.status || tc.unchanged && text != tc.body || !strings.Contains(text, tc.text) {
				t.Errorf("%d %.300s", status, text)
			}
			if len(reported) > 1 || (len(reported) == 1) != (tc.reported != "") {
				t.Fatalf("%d reports", len(reported))
			}
			if tc.reported != "" {
				if err := <-reported; !strings.Contains(err.Error(), tc.reported) {
					t.Errorf("reported %v", err)
				}
			}
		})
	}
}

// TestProxy_ErrorAfterSuccess breaks off what S3 answers with 200 and an error below it, and only that.
func TestProxy_ErrorAfterSuccess(t *testing.T) {
	copying := func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/mine/b") }
	for name, tc := range map[string]struct {
		method, path string
		change       func(*http.Request)
		parts        []string // of the answer
		broken       bool
	}{
		"a copy":                   {http.MethodPut, "/mine/a", copying, []string{errorBody("InternalError")}, true},
		"a copy of a part":         {http.MethodPut, "/mine/a?partNumber=1&uploadId=x", copying, []string{errorBody("SlowDown")}, true},
		"the end of an upload":     {http.MethodPost, "/mine/a?uploadId=x", nil, []string{"<?xml version=\"1.0\"?>", "\n  \n", " ", "<Er", "ror><Code>InternalError</Code></Error>"}, true},
		"an error nobody knows":    {http.MethodPut, "/mine/a", copying, []string{errorBody("Unheard")}, true},
		"a copy that succeeded":    {http.MethodPut, "/mine/a", copying, []string{"<?xml version=\"1.0\"?>\n \n", "<CopyObjectResult><ETag>Error</ETag></CopyObjectResult>"}, false},
		"an upload that succeeded": {http.MethodPost, "/mine/a?uploadId=x", nil, []string{"\n\n", "<CompleteMultipartUploadResult/>"}, false},
		"no document":              {http.MethodPut, "/mine/a", copying, []string{"<Error"}, false},
		"no answer at all":         {http.MethodPut, "/mine/a", copying, nil, false},
		"an object":                {http.MethodGet, "/mine/a", nil, []string{errorBody("InternalError")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBucket(t, func(w http.ResponseWriter, _ *http.Request) {
				for _, part := range tc.parts {
					_, _ = io.WriteString(w, part)
					_ = http.NewResponseController(w).Flush()
				}
			})
			target := b.target(t)
			reported := reports(&target)
			q := request{method: tc.method, path: tc.path, change: tc.change, door: listen(t, target, lasting).Door()}
			status, text, err := q.try(t)
			if (err != nil) != tc.broken || !tc.broken && (status != http.StatusOK || text != strings.Join(tc.parts, "")) {
				t.Errorf("%d %q, %v", status, text, err)
			}
			if (len(reported) > 0) != tc.broken {
				t.Errorf("%d reports", len(reported))
			}
		})
	}
}

// TestProxy_S3FSRepeatsTransientErrors writes and renames with a real s3fs while S3 refuses once for each reason.
func TestProxy_S3FSRepeatsTransientErrors(t *testing.T) {
	e, target := server(t)
	var late atomic.Bool // the next copy is answered with success, and an error below it
	to, err := url.Parse(e.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host // which is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Copy-Source") != "" && late.CompareAndSwap(true, false) {
			_, _ = io.WriteString(w, errorBody("InternalError"))
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	if target.URL, err = url.Parse(front.URL + "/mine"); err != nil {
		t.Fatal(err)
	}
	p, ready := mount(t, listen(t, target, credentials.NewStaticCredentialsProvider("test", "test", "")).Door(), "mine")
	if !ready {
		t.Fatalf("s3fs ended: %s", p.output)
	}
	for _, code := range []string{"RequestTimeout", "SlowDown", "RequestTimeTooSkewed", "OperationAborted", "InternalError"} {
		t.Run(code, func(t *testing.T) {
			if err := e.AddFaults(emulator.Fault{Operation: "s3:PutObject", Nth: 1, Effect: faults.Refuse, Code: code}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(p.dir, code), []byte("text"), 0o600); err != nil {
				t.Errorf("a write: %v", err)
			}
			if got, err := os.ReadFile(filepath.Join(p.dir, code)); err != nil || !bytes.Equal(got, []byte("text")) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	t.Run("a rename whose copy fails after its success", func(t *testing.T) {
		old, renamed := filepath.Join(p.dir, "old"), filepath.Join(p.dir, "renamed")
		if err := os.WriteFile(old, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		late.Store(true)
		if err := os.Rename(old, renamed); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(renamed); err != nil || string(got) != "text" || late.Load() {
			t.Errorf("%q, %v", got, err)
		}
	})
}
