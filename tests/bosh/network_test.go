package bosh

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// far is EC2's host behind the proxy: no name server knows it, so that only the proxy finds it.
const far = "ec2.diskbridge.invalid"

// proxy is an HTTP proxy that knows one host, wants a password, and remembers what it was asked for.
type proxy struct {
	*httptest.Server
	plain, secure string // addresses of the host, without and with TLS

	mu   sync.Mutex
	seen []string
}

func newProxy(t *testing.T, plain, secure string) *proxy {
	t.Helper()
	p := &proxy{plain: plain, secure: secure}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// url is the proxy's, with its user and password.
func (p *proxy) url() string { return strings.Replace(p.URL, "://", "://bosh:pa55word@", 1) }

// asked are the requests until now, and forgets them.
func (p *proxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return slices.Compact(seen)
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Header.Get("Proxy-Authorization") != "Basic Ym9zaDpwYTU1d29yZA==" { // bosh:pa55word
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	host, _, _ := strings.Cut(r.Host, ":")
	switch {
	case host != far:
		w.WriteHeader(http.StatusBadGateway)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	default:
		(&httputil.ReverseProxy{Rewrite: func(out *httputil.ProxyRequest) {
			out.SetURL(&url.URL{Scheme: "http", Host: p.plain})
			out.Out.Host = out.In.Host // it is signed
		}}).ServeHTTP(w, r)
	}
}

func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	there, err := new(net.Dialer).DialContext(r.Context(), "tcp", p.secure)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(there, here) // until the client ends it
		_ = there.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(here, there)
	_ = here.Close()
	<-done
}

// withTLS serves the emulator under the host's name, with a certificate that only ca vouches for.
func withTLS(t *testing.T, endpoint string) (address, ca string) {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	server, authority := harness.TLS(t, httputil.NewSingleHostReverseProxy(target), far)
	path := filepath.Join(t.TempDir(), "cacert.pem")
	if err := os.WriteFile(path, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.Listener.Addr().String(), path
}

// TestNetwork: certificates and proxies count as the AWS CPI's wrapper exports them, and no password gets into an answer.
func TestNetwork(t *testing.T) {
	s := newSite(t)
	disk := s.text("create_disk", 1024, map[string]any{}, s.emulator.Instances[0].ID)
	plain := strings.TrimPrefix(s.emulator.Endpoint, "http://")
	secure, ca := withTLS(t, s.emulator.Endpoint)
	p := newProxy(t, plain, secure)
	wrong := strings.Replace(p.url(), "pa55word", "wr0ng", 1)
	const refused = "127.0.0.1:1"
	for name, tc := range map[string]struct {
		endpoint string
		env      []string
		says     string   // part of the error; empty: it succeeds
		asked    []string // of the proxy
	}{
		"a CA of one's own":              {secure, []string{"BOSH_CA_CERT_FILE=" + ca}, "", nil},
		"without it":                     {secure, nil, "certificate", nil},
		"a CA file that is not there":    {secure, []string{"BOSH_CA_CERT_FILE=/nowhere.pem"}, "BOSH_CA_CERT_FILE", nil},
		"a CA file without certificates": {secure, []string{"BOSH_CA_CERT_FILE=" + filepath.Join(s.dir, "diskbridge_cpi.json")}, "holds no PEM certificate", nil},
		"a proxy":                        {"http://" + far, []string{"HTTP_PROXY=" + p.url(), "http_proxy=" + p.url()}, "", []string{"POST " + far}},
		"a tunnel through a proxy, to a CA of one's own": {far, []string{"HTTPS_PROXY=" + p.url(), "https_proxy=" + p.url(), "BOSH_CA_CERT_FILE=" + ca}, "", []string{"CONNECT " + far + ":443"}},
		"a tunnel, and the CA is missing":                {far, []string{"https_proxy=" + p.url()}, "certificate", []string{"CONNECT " + far + ":443"}},
		"a tunnel that the proxy refuses":                {far, []string{"https_proxy=" + wrong}, "Proxy Authentication Required", []string{"CONNECT " + far + ":443"}},
		"a proxy that is not there":                      {far, []string{"https_proxy=http://bosh:pa55word@" + refused}, "proxyconnect", nil},
		"a proxy that is not for this host":              {"http://" + plain, []string{"http_proxy=" + p.url(), "no_proxy=127.0.0.1"}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.write("diskbridge_cpi.json", map[string]any{
				"aws":        map[string]any{"region": "us-east-1", "access_key_id": "test", "secret_access_key": "test", "ec2_endpoint": tc.endpoint},
				"diskbridge": map[string]any{"timeouts": map[string]any{"has_disk": 30}},
			})
			stdout, stderr, err := s.runOurs(t.Context(), `{"method":"has_disk","arguments":["`+disk+`"],"context":{},"api_version":2}`, tc.env...)
			var a answer
			if err := json.Unmarshal([]byte(stdout), &a); err != nil {
				t.Fatal(err)
			}
			switch {
			case err != nil, tc.says == "" && (a.Error != nil || string(a.Result) != "true"),
				tc.says != "" && (a.Error == nil || !strings.Contains(a.Error.Message, tc.says)):
				t.Errorf("%v; %s, %+v; want %q", err, a.Result, a.Error, tc.says)
			}
			if asked := p.asked(); !slices.Equal(asked, tc.asked) {
				t.Errorf("the proxy was asked for %v, want %v", asked, tc.asked)
			}
			for _, secret := range []string{"pa55word", "wr0ng"} {
				if strings.Contains(stdout+stderr, secret) {
					t.Errorf("a password is shown: %s%s", stdout, stderr)
				}
			}
		})
	}
}
