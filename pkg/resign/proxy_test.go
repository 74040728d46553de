package resign_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/diskbridge/diskbridge/pkg/resign"
)

// bucket is a server that notes what reaches it.
type bucket struct {
	*httptest.Server
	answer http.HandlerFunc // nil: 200
	mu     sync.Mutex
	seen   []*http.Request
}

func newBucket(t *testing.T, answer http.HandlerFunc) *bucket {
	t.Helper()
	b := &bucket{answer: answer}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r)
		b.mu.Unlock()
		if b.answer != nil {
			b.answer(w, r)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bucket) requests() []*http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

func (b *bucket) target(t *testing.T) resign.Target {
	t.Helper()
	u, err := url.Parse(b.URL + "/mine")
	if err != nil {
		t.Fatal(err)
	}
	return resign.Target{URL: u, Region: "eu-west-1", Bucket: "mine"}
}

// provider gives credentials by a function.
type provider func() (aws.Credentials, error)

func (p provider) Retrieve(context.Context) (aws.Credentials, error) { return p() }

var lasting = provider(func() (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "REALKEY", SecretAccessKey: "real-secret", SessionToken: "real-token"}, nil
})

func listen(t *testing.T, target resign.Target, p aws.CredentialsProvider) *resign.Proxy {
	t.Helper()
	proxy, err := resign.Listen(t.Context(), resign.Door{}, target, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return proxy
}

// request is one that is signed with the door's keys; change happens before the signature, spoil after it.
type request struct {
	method, path  string
	body          io.Reader
	change, spoil func(*http.Request)
	door          resign.Door
	at            time.Time
}

func (q request) do(t *testing.T) (status int, body string) {
	t.Helper()
	status, body, err := q.try(t)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

// try is do for an answer that may break off.
func (q request) try(t *testing.T) (status int, body string, err error) {
	t.Helper()
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.at.IsZero() {
		q.at = time.Now()
	}
	r, err := http.NewRequestWithContext(t.Context(), q.method, q.door.URL()+q.path, q.body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	if q.change != nil {
		q.change(r)
	}
	keys := aws.Credentials{AccessKeyID: q.door.AccessKeyID, SecretAccessKey: q.door.SecretAccessKey}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), keys, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", "anywhere", q.at); err != nil {
		t.Fatal(err)
	}
	if q.spoil != nil {
		q.spoil(r)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}).RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func TestProxy_SignsAnew(t *testing.T) {
	b := newBucket(t, nil)
	target := b.target(t)
	target.Owner = "123456789012"
	p := listen(t, target, lasting)
	status, text := request{method: http.MethodPut, path: "/mine/a%20b/%C3%BC+c%28d%29", body: strings.NewReader("hello"), door: p.Door(), change: func(r *http.Request) {
		r.Header.Set("X-Amz-Acl", "private")
		r.Header.Set("X-Amz-Copy-Source", "/mine/other")
	}}.do(t)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	got := b.requests()[0]
	if got.URL.Path != "/mine/a b/ü+c(d)" || got.URL.EscapedPath() != "/mine/a%20b/%C3%BC%2Bc%28d%29" {
		t.Errorf("path %s", got.URL.EscapedPath())
	}
	if a := got.Header.Get("Authorization"); !strings.Contains(a, "Credential=REALKEY/") || !strings.Contains(a, "/eu-west-1/s3/") || !strings.Contains(a, "x-amz-security-token") {
		t.Errorf("signed as %s", a)
	}
	for name, want := range map[string]string{
		"X-Amz-Security-Token": "real-token", "X-Amz-Acl": "", "X-Amz-Expected-Bucket-Owner": "123456789012", "X-Amz-Source-Expected-Bucket-Owner": "123456789012",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v %v", p.Door(), p.Door(), p.Door(), &struct{ D resign.Door }{p.Door()}); strings.Contains(shown, p.Door().SecretAccessKey) {
		t.Errorf("a log would show the keys: %s", shown)
	}
}

func TestProxy_RefusesWhatIsNotSigned(t *testing.T) {
	b := newBucket(t, nil)
	door := listen(t, b.target(t), lasting).Door()
	other := door
	other.SecretAccessKey = "guessed"
	for name, tc := range map[string]struct {
		request
		code string
	}{
		"unsigned":             {request{door: door, spoil: func(r *http.Request) { r.Header.Del("Authorization") }}, "AccessDenied"},
		"another secret":       {request{door: other}, "SignatureDoesNotMatch"},
		"another key":          {request{door: resign.Door{Address: door.Address, AccessKeyID: "REALKEY", SecretAccessKey: "x"}}, "AccessDenied"},
		"another path":         {request{door: door, spoil: func(r *http.Request) { r.URL.Path = "/mine/else" }}, "SignatureDoesNotMatch"},
		"another method":       {request{door: door, spoil: func(r *http.Request) { r.Method = http.MethodDelete }}, "SignatureDoesNotMatch"},
		"a header came later":  {request{door: door, spoil: func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/mine/b") }}, "AccessDenied"},
		"signed an hour ago":   {request{door: door, at: time.Now().Add(-time.Hour)}, "RequestTimeTooSkewed"},
		"a body signed inside": {request{door: door, change: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") }}, "NotImplemented"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.path = "/mine/a"
			if status, text := tc.do(t); status < 400 || !strings.Contains(text, "<Code>"+tc.code+"</Code>") {
				t.Errorf("%d %s, want %s", status, text, tc.code)
			}
		})
	}
	if n := len(b.requests()); n != 0 {
		t.Errorf("%d requests reached the server", n)
	}
}

func TestProxy_KeepsToItsPrefix(t *testing.T) {
	b := newBucket(t, nil)
	target := b.target(t)
	target.Prefix = "prod/"
	door := listen(t, target, lasting).Door()
	for name, tc := range map[string]struct {
		request
		status int
	}{
		"an object":                   {request{path: "/mine/prod/a"}, 200},
		"the prefix itself":           {request{method: "HEAD", path: "/mine/prod/"}, 200},
		"a part":                      {request{method: "PUT", path: "/mine/prod/a?partNumber=1&uploadId=x"}, 200},
		"a list":                      {request{path: "/mine/?prefix=prod/a/&delimiter=/"}, 200},
		"another bucket":              {request{path: "/other/prod/a"}, 403},
		"all buckets":                 {request{path: "/"}, 403},
		"a neighbour":                 {request{path: "/mine/prod-2/a"}, 403},
		"a neighbour by dots":         {request{path: "/mine/prod/../prod-2/a"}, 403},
		"a neighbour by escaped dots": {request{path: "/mine/prod/%2e%2e/prod-2/a"}, 403},
		"a neighbour's list":          {request{path: "/mine/?prefix=prod-2/"}, 403},
		"a marker":                    {request{path: "/mine/.diskbridge/volumes/x"}, 403},
		"a copy from elsewhere":       {request{method: "PUT", path: "/mine/prod/a", change: func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/mine/prod-2/a") }}, 403},
		"a copy from another bucket":  {request{method: "PUT", path: "/mine/prod/a", change: func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "other/prod/a") }}, 403},
		"a copy from within":          {request{method: "PUT", path: "/mine/prod/a", change: func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "mine/prod/b%20c") }}, 200},
		"the bucket's deletion":       {request{method: "DELETE", path: "/mine"}, 403},
		"many deletions":              {request{method: "POST", path: "/mine/?delete"}, 403},
		"the bucket's policy":         {request{path: "/mine/?policy"}, 403},
		"a second prefix":             {request{path: "/mine/?prefix=prod/&prefix=prod-2/"}, 403},
		"a neighbour's list by dots":  {request{path: "/mine/?prefix=prod/../prod-2/"}, 403},
		"a list as a location":        {request{path: "/mine/?location&list-type=2&prefix=prod-2/"}, 403},
		"a list of all as a location": {request{path: "/mine/?location&list-type=2"}, 403},
		"the bucket's location":       {request{path: "/mine/?location"}, 200},
		"a second source of a copy": {request{method: "PUT", path: "/mine/prod/a", change: func(r *http.Request) {
			r.Header["X-Amz-Copy-Source"] = []string{"/mine/prod/b", "/mine/prod-2/a"}
		}}, 403},
		"readers of all the world": {request{method: "PUT", path: "/mine/prod/a", change: func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }}, 403},
		"readers by name":          {request{method: "PUT", path: "/mine/prod/a", change: func(r *http.Request) { r.Header.Set("X-Amz-Grant-Read", "id=1") }}, 403},
		"an ACL":                   {request{method: "PUT", path: "/mine/prod/a?acl"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			tc.door = door
			if status, text := tc.do(t); status != tc.status {
				t.Errorf("%d %s, want %d", status, text, tc.status)
			}
		})
	}
	t.Run("a list of everything is one of the prefix", func(t *testing.T) {
		request{path: "/mine/", door: door}.do(t)
		all := b.requests()
		if q := all[len(all)-1].URL.Query(); q.Get("prefix") != "prod/" {
			t.Errorf("asked for %v", q)
		}
	})
}

func TestProxy_StreamsBodies(t *testing.T) {
	half := make(chan string)
	b := newBucket(t, func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, first)
		half <- string(first)
		_, _ = io.Copy(w, r.Body)
	})
	read, write := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := write.Write([]byte("hello"))
		if got := <-half; got != "hello" { // before the rest exists
			err = errors.Join(err, fmt.Errorf("the server has %q", got))
		}
		_, rest := write.Write([]byte(" world"))
		written <- errors.Join(err, rest, write.Close())
	}()
	q := request{method: http.MethodPut, path: "/mine/a", body: read, door: listen(t, b.target(t), lasting).Door()}
	q.change = func(r *http.Request) { r.ContentLength = int64(len("hello world")) }
	if status, text := q.do(t); status != http.StatusOK || text != " world" {
		t.Errorf("%d %q", status, text)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestProxy_ExpectsToBeAsked has a server that refuses before it has seen a body.
func TestProxy_ExpectsToBeAsked(t *testing.T) {
	b := newBucket(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) })
	door := listen(t, b.target(t), lasting).Door()
	body := &counted{Reader: bytes.NewReader(make([]byte, 8<<20))}
	status, _ := request{method: http.MethodPut, path: "/mine/a", body: body, door: door, change: func(r *http.Request) {
		r.ContentLength = 8 << 20
		r.Header.Set("Expect", "100-continue")
	}}.do(t)
	if status != http.StatusConflict || body.n.Load() > 0 {
		t.Errorf("%d after %d bytes", status, body.n.Load())
	}
}

type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func TestProxy_Close(t *testing.T) {
	arrived := make(chan struct{})
	b := newBucket(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	proxy, err := resign.Listen(t.Context(), resign.Door{}, b.target(t), lasting)
	if err != nil {
		t.Fatal(err)
	}
	door := proxy.Door()
	ended := make(chan error, 1)
	go func() {
		conn, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), "tcp", door.Address)
		if err == nil {
			defer func() { _ = conn.Close() }()
			r, _ := http.NewRequest(http.MethodGet, door.URL()+"/mine/a", nil)
			r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			keys := aws.Credentials{AccessKeyID: door.AccessKeyID, SecretAccessKey: door.SecretAccessKey}
			err = errors.Join(v4.NewSigner().SignHTTP(t.Context(), keys, r, "UNSIGNED-PAYLOAD", "s3", "r", time.Now()), r.Write(conn))
			_, _ = io.ReadAll(conn) // until the proxy ends it
		}
		ended <- err
	}()
	<-arrived
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// The next one is where it was, so that a program goes on.
	b.answer = nil
	again, err := resign.Listen(t.Context(), door, b.target(t), lasting)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if status, text := (request{path: "/mine/a", door: door}).do(t); status != http.StatusOK || again.Door() != door {
		t.Errorf("%d %s at %v", status, text, again.Door())
	}
}

// TestListen_Ports has doors where no outgoing connection takes the port of one that is closed for a moment.
func TestListen_Ports(t *testing.T) {
	const first = 32768 // where Linux leaves net.ipv4.ip_local_port_range as it is
	var port int
	target := newBucket(t, nil).target(t)
	for range 3 {
		address := listen(t, target, lasting).Door().Address
		if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &port); err != nil || port >= first {
			t.Errorf("%s is among the ports of outgoing connections, from %d on (%v)", address, first, err)
		}
	}
}

func TestListen_BadTargets(t *testing.T) {
	good := newBucket(t, nil).target(t)
	for name, change := range map[string]func(*resign.Target, *resign.Door){
		"no server":    func(x *resign.Target, _ *resign.Door) { x.URL = &url.URL{} },
		"no region":    func(x *resign.Target, _ *resign.Door) { x.Region = "" },
		"no bucket":    func(x *resign.Target, _ *resign.Door) { x.Bucket = "" },
		"half a name":  func(x *resign.Target, _ *resign.Door) { x.Prefix = "prod" },
		"for everyone": func(_ *resign.Target, d *resign.Door) { d.Address = "0.0.0.0:0" },
	} {
		t.Run(name, func(t *testing.T) {
			target, door := good, resign.Door{}
			change(&target, &door)
			if p, err := resign.Listen(t.Context(), door, target, lasting); err == nil {
				t.Error("it listens", p.Close())
			}
		})
	}
}
