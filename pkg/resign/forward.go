package resign

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/diskbridge/diskbridge/pkg/socket"
)

const (
	dialWait = 10 * time.Second // for a connection, and again for TLS
	// stuckWait is how long a server may take nothing of a body: that the caller is gone is only seen with the next piece of it.
	stuckWait  = 2 * time.Minute
	answerWait = 5 * time.Minute // until an answer begins, once the request is sent: S3 joins large uploads, and copies, for minutes
	// idleTime is how long a connection waits for the next request: less than servers let it.
	idleTime = 15 * time.Second
	maxIdle  = 32
	// firstWait is how long the first credentials may take, renewWait later ones until the last are tried once more.
	firstWait, renewWait = 20 * time.Second, 3 * time.Second
)

// forwarder sends what is allowed to the server, and its answer back, as it comes.
func (p *Proxy) forwarder() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:    p.rewrite,
		Transport:  p.signer,
		BufferPool: &buffers{},
		ErrorLog:   silent(),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the caller is gone, or the proxy ends
			}
			var f *failure
			if !errors.As(err, &f) {
				f = unavailable(err, "the S3 server at %s does not answer", p.target.URL.Host)
			}
			if p.target.Report != nil {
				p.target.Report(fmt.Errorf("%s of bucket %s: %w", r.Method, p.target.Bucket, f))
			}
			refuse(w, f)
		},
	}
}

// rewrite turns a request to the proxy into one to the bucket.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	_, key := split(r.In.URL.Path)
	to := *p.target.URL
	to.Path = strings.TrimSuffix(to.Path, "/") + "/" + key
	to.RawPath = escape(to.Path)
	to.RawQuery = r.In.URL.RawQuery
	if key == "" && r.In.Method == http.MethodGet && p.target.Prefix != "" {
		to.RawQuery = p.target.narrowed(to.RawQuery)
	}
	r.Out.URL, r.Out.Host = &to, to.Host
	h := r.Out.Header
	for _, name := range []string{"Authorization", dateHeader, tokenHeader} {
		h.Del(name)
	}
	if h.Get("X-Amz-Acl") == "private" {
		h.Del("X-Amz-Acl") // it is what objects are anyway, and buckets without ACLs refuse it
	}
	if owner := p.target.Owner; owner != "" {
		h.Set("X-Amz-Expected-Bucket-Owner", owner)
		if h.Get("X-Amz-Copy-Source") != "" {
			h.Set("X-Amz-Source-Expected-Bucket-Owner", owner)
		}
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "diskbridge")
	}
}

// escape writes a path as S3 signs it: all but letters, digits, - . _ ~ and / in percent.
func escape(path string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(path), "+", "%20"), "%2F", "/")
}

// signer is a transport that signs.
type signer struct {
	target      Target
	credentials aws.CredentialsProvider
	v4          *v4.Signer
	transport   *http.Transport
	last        atomic.Pointer[aws.Credentials]
}

func newSigner(target Target, credentials aws.CredentialsProvider) *signer {
	return &signer{target: target, credentials: credentials, v4: newV4(), transport: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		DialContext:     socket.Dialer(dialWait, stuckWait).DialContext,
		TLSClientConfig: target.TLS, TLSHandshakeTimeout: dialWait,
		MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTime,
		ResponseHeaderTimeout: answerWait, ExpectContinueTimeout: time.Second,
		DisableCompression: true, // an object goes through as it is
	}}
}

// RoundTrip implements http.RoundTripper. The request is the forwarder's own, so that it may be changed.
func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	c, stale := s.retrieve(r.Context())
	if c == nil {
		return nil, unavailable(stale, "no credentials for the S3 server")
	}
	if err := s.v4.SignHTTP(r.Context(), *c, r, r.Header.Get(hashHeader), service, s.target.Region, time.Now()); err != nil {
		return nil, err
	}
	answer, err := s.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	var f *failure
	switch status := answer.StatusCode; {
	case status >= 300 && status < 400 && status != http.StatusNotModified:
		f = unavailable(nil, "the server at %s sends requests elsewhere (%s, region %q); the bucket is not in the region %s, or is so new that its address is not known everywhere",
			r.URL.Host, answer.Status, answer.Header.Get("X-Amz-Bucket-Region"), s.target.Region)
	case status != http.StatusBadRequest && status != http.StatusForbidden:
	case stale != nil:
		f = unavailable(stale, "the server at %s answers %s to the last credentials, and there are no new ones", r.URL.Host, answer.Status)
	case c.CanExpire && !time.Now().Before(c.Expires):
		f = unavailable(nil, "the credentials ended while the request was on its way (%s)", answer.Status)
	}
	if f == nil {
		f = s.target.transient(r, answer)
	}
	if f == nil {
		return answer, nil
	}
	return nil, errors.Join(f, answer.Body.Close())
}

// retrieve asks for the credentials. While the provider fails, they are those that it gave last, with its error: the
// server knows best how long they are good.
func (s *signer) retrieve(ctx context.Context) (*aws.Credentials, error) {
	last, wait := s.last.Load(), firstWait
	if last != nil {
		wait = renewWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return last, err
	}
	s.last.Store(&c)
	return &c, nil
}

// bufferSize is what of a body is on its way in one direction, in bytes.
const bufferSize = 64 << 10

// buffers lends buffers for answers.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if had, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return had[:]
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }
