package resign_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/diskbridge/diskbridge/pkg/resign"
)

// reports collects what a proxy tells its owner.
func reports(target *resign.Target) chan error {
	told := make(chan error, 10)
	target.Report = func(err error) {
		select {
		case told <- err:
		default: // enough are told
		}
	}
	return told
}

func TestProxy_ProviderFails(t *testing.T) {
	b := newBucket(t, nil)
	target := b.target(t)
	told := reports(&target)
	works := false
	door := listen(t, target, provider(func() (aws.Credentials, error) {
		if works {
			return lasting()
		}
		return aws.Credentials{}, errors.New("AccessDenied: not authorized to perform sts:AssumeRoleWithWebIdentity")
	})).Door()
	ask := request{path: "/mine/a", door: door}
	if status, text := ask.do(t); status != http.StatusServiceUnavailable || !strings.Contains(text, "sts:AssumeRoleWithWebIdentity") {
		t.Errorf("%d %s", status, text)
	}
	if err := <-told; !strings.Contains(err.Error(), "sts:AssumeRoleWithWebIdentity") || !strings.Contains(err.Error(), "bucket mine") {
		t.Errorf("told %v", err)
	}
	works = true
	if status, text := ask.do(t); status != http.StatusOK {
		t.Errorf("once it works: %d %s", status, text)
	}
	works = false
	if status, text := ask.do(t); status != http.StatusOK {
		t.Errorf("with the last credentials: %d %s", status, text)
	}
	b.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }
	if status, text := ask.do(t); status != http.StatusServiceUnavailable || !strings.Contains(text, "sts:AssumeRoleWithWebIdentity") {
		t.Errorf("once the last ended: %d %s", status, text)
	}
}

// TestProxy_CallerBreaksOff in the middle of a body: that is nobody's news.
func TestProxy_CallerBreaksOff(t *testing.T) {
	ended := make(chan struct{})
	b := newBucket(t, func(_ http.ResponseWriter, r *http.Request) {
		defer close(ended)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	target := b.target(t)
	told := reports(&target)
	proxy := listen(t, target, lasting)
	door := proxy.Door()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, door.URL()+"/mine/a", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	keys := aws.Credentials{AccessKeyID: door.AccessKeyID, SecretAccessKey: door.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, "UNSIGNED-PAYLOAD", "s3", "r", time.Now()); err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if err := r.Write(&whole); err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", door.Address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(whole.Bytes()[:whole.Len()/2]); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := proxy.Close(); err != nil { // waits for the request
		t.Error(err)
	}
	if len(told) > 0 {
		t.Errorf("told %v", <-told)
	}
}

// TestProxy_AnswersToTryAgain are those that s3fs must not take for the end of a file.
func TestProxy_AnswersToTryAgain(t *testing.T) {
	ended := provider(func() (aws.Credentials, error) {
		c, err := lasting()
		c.CanExpire, c.Expires = true, time.Now().Add(-time.Second)
		return c, err
	})
	for name, tc := range map[string]struct {
		by             provider
		answer, status int
		text           string
	}{
		"credentials that ended on the way": {ended, 400, 503, "credentials ended"},
		"and are good after all":            {ended, 200, 200, ""},
		"a refusal":                         {lasting, 403, 403, ""},
		"an object that is not there":       {ended, 404, 404, ""},
		"another region":                    {lasting, 301, 503, "eu-central-1"},
		"not modified":                      {lasting, 304, 304, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBucket(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(tc.answer)
			})
			status, text := request{path: "/mine/a", door: listen(t, b.target(t), tc.by).Door()}.do(t)
			if status != tc.status || !strings.Contains(text, tc.text) {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	t.Run("a server that is gone", func(t *testing.T) {
		b := newBucket(t, nil)
		target := b.target(t)
		told := reports(&target)
		door := listen(t, target, lasting).Door()
		b.Close()
		if status, text := (request{path: "/mine/a", door: door}).do(t); status != http.StatusServiceUnavailable || !strings.Contains(text, "does not answer") {
			t.Errorf("%d %s", status, text)
		}
		if err := <-told; !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("told %v", err)
		}
	})
}

func TestProxy_TrustsTheTargetsCA(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	u, err := url.Parse(server.URL + "/mine")
	if err != nil {
		t.Fatal(err)
	}
	target := resign.Target{URL: u, Region: "corp-north-1", Bucket: "mine"}
	if status, text := (request{path: "/mine/a", door: listen(t, target, lasting).Door()}).do(t); status != http.StatusServiceUnavailable || !strings.Contains(text, "certificate") {
		t.Errorf("without the CA: %d %s", status, text)
	}
	target.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	target.TLS.RootCAs.AddCert(server.Certificate())
	if status, text := (request{path: "/mine/a", door: listen(t, target, lasting).Door()}).do(t); status != http.StatusOK {
		t.Errorf("with the CA: %d %s", status, text)
	}
}
