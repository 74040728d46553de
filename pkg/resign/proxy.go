package resign

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Target is the one bucket, or prefix of it, that a proxy leads to.
type Target struct {
	// URL is the bucket's: https://bucket.s3.eu-west-1.amazonaws.com, or https://server:9000/bucket for a server
	// that has buckets in the path.
	URL    *url.URL
	Region string // that requests are signed for
	Bucket string
	Prefix string // "" or "prefix/": nothing else of the bucket is let through
	Owner  string // account that the bucket must belong to; "": whoever's
	// TLS says whom to trust; nil: whom the machine trusts.
	TLS *tls.Config
	// Report is told of each request that failed although it may be asked, with its reason; it must not wait. May be nil.
	Report func(error)
}

// Door is where a proxy is entered: an address, and the keys that requests must be signed with there. They are worth
// nothing elsewhere, but on this machine they are the credentials of the bucket: keep them for the owner only.
type Door struct {
	Address         string `json:"address"` // 127.0.0.1:port
	AccessKeyID     string `json:"accessKeyID"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// String implements fmt.Stringer, so that no log shows the keys.
func (d Door) String() string { return "http://" + d.Address }

// GoString implements fmt.GoStringer, for %#v.
func (d Door) GoString() string { return d.String() }

// URL is what a program takes for the S3 server. Its buckets are in the path.
func (d Door) URL() string { return "http://" + d.Address }

// Proxy takes requests until it is closed.
type Proxy struct {
	door     Door
	target   Target
	forward  http.Handler
	entry    *v4.Signer // for the door's keys: a signer remembers what follows from the last ones it saw
	signer   *signer
	server   http.Server
	running  sync.WaitGroup // the server, and each connection with the request that it has
	stopping context.CancelFunc
}

const (
	// headerWait is how long a caller may take to say what it wants, and idleWait until it wants something again.
	headerWait, idleWait = 10 * time.Second, 2 * time.Minute
	maxHeader            = 64 << 10 // bytes; user metadata is at most 2 KiB
)

// Listen opens a proxy on the loopback interface. An empty door is a new one, on a free port and with new keys; an earlier
// proxy's Door is opened where it was, so that programs which use it go on. Each request asks for the credentials, so that
// the provider should keep them until they end, as aws.CredentialsCache does. All requests end with ctx; Close must be
// called then too.
func Listen(ctx context.Context, door Door, target Target, credentials aws.CredentialsProvider) (*Proxy, error) {
	if err := target.check(); err != nil {
		return nil, err
	}
	listener, err := listen(ctx, door.Address)
	if door == (Door{}) {
		door = Door{AccessKeyID: rand.Text(), SecretAccessKey: rand.Text() + rand.Text()}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the requests of bucket %s: %w", target.Bucket, err)
	}
	door.Address = listener.Addr().String()
	if host, _, err := net.SplitHostPort(door.Address); err != nil || !net.ParseIP(host).IsLoopback() {
		return nil, errors.Join(fmt.Errorf("listen for the requests of bucket %s: %s is not on the loopback interface", target.Bucket, door.Address), listener.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Proxy{door: door, target: target, entry: newV4(), signer: newSigner(target, credentials), stopping: cancel}
	p.forward = p.forwarder()
	p.server = http.Server{
		Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: headerWait, IdleTimeout: idleWait, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState:   p.count,
		ErrorLog:    silent(),
	}
	p.running.Go(func() { _ = p.server.Serve(listener) }) // it ends when it is closed, and never else
	return p, nil
}

// Ports are from where doors are: below those that Linux gives to outgoing connections, of which one could have a door's port
// while nobody has it open; beside those of TLS tunnels.
const (
	firstPort = 22074
	lastPort  = 26169
)

// listen takes an address on the loopback interface; "" is a free one.
func listen(ctx context.Context, address string) (net.Listener, error) {
	if address != "" {
		return (&net.ListenConfig{}).Listen(ctx, "tcp4", address)
	}
	const ports = lastPort - firstPort + 1
	for i, begin := 0, mathrand.IntN(ports); i < ports; i++ { //nolint:gosec // not to be guessed is the keys' part
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", firstPort+(begin+i)%ports))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	return nil, fmt.Errorf("no port from %d to %d is free on 127.0.0.1", firstPort, lastPort)
}

func (t Target) check() error {
	switch {
	case t.URL == nil || t.URL.Scheme != "http" && t.URL.Scheme != "https" || t.URL.Host == "":
		return fmt.Errorf("bucket %s: its URL %v is none of a server", t.Bucket, t.URL)
	case t.Region == "":
		return fmt.Errorf("bucket %s: requests are signed for a region, and none is known", t.Bucket)
	case t.Bucket == "" || strings.Contains(t.Bucket, "/"):
		return fmt.Errorf("%q is no bucket", t.Bucket)
	case t.Prefix != "" && !strings.HasSuffix(t.Prefix, "/"):
		return fmt.Errorf("bucket %s: the prefix %q does not end in /", t.Bucket, t.Prefix)
	}
	return nil
}

// Door is where this proxy is entered.
func (p *Proxy) Door() Door { return p.door }

// Close ends all requests and waits for them. The address is free then.
func (p *Proxy) Close() error {
	err := p.server.Close()
	p.stopping()
	p.running.Wait()
	p.signer.transport.CloseIdleConnections()
	return err
}

// count keeps the number of connections. A new one is told by the server's own goroutine, and the end of one after that of
// its request.
func (p *Proxy) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.running.Add(1)
	case http.StateClosed, http.StateHijacked:
		p.running.Done()
	default:
	}
}

// serve answers one request.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	err := p.door.check(r, p.entry, time.Now())
	if err == nil {
		err = p.target.allows(r)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	p.forward.ServeHTTP(w, r)
}
