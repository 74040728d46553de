package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Config is what the service stands on.
type Config struct {
	Store      *store.Store
	Signatures *wire.Signatures
	Now        func() time.Time
	Account    string
	Region     string
	Server     string // path of the versitygw program
	Dir        string // where the objects are: a file system with user xattrs
	// AccessKeyID and SecretAccessKey are the one user's, whose signatures the server checks itself.
	AccessKeyID, SecretAccessKey string
}

// Service answers S3 requests. Close it to end the server behind it.
type Service struct {
	Config
	server *server
	proxy  *httputil.ReverseProxy
}

// Start starts the server behind the service and returns once it answers.
func Start(ctx context.Context, c Config) (*Service, error) {
	for _, dir := range []string{c.objects(), c.versions()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("start S3: %w", err)
		}
	}
	server, err := startServer(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start S3: %w", err)
	}
	s := &Service{Config: c, server: server}
	s.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", server.socket)
			},
			DisableCompression: true, DisableKeepAlives: true,
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.Fail(w, "", &wire.Error{Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Message: "The server behind the emulator: " + err.Error()})
		},
	}
	return s, nil
}

func (c Config) objects() string  { return filepath.Join(c.Dir, "objects") }
func (c Config) versions() string { return filepath.Join(c.Dir, "versions") }

// Close ends the server and waits for it.
func (s *Service) Close() error { return s.server.close() }

// Wipe drops all buckets with everything in them.
func (s *Service) Wipe() error {
	var errs []error
	for _, dir := range []string{s.objects(), s.versions()} {
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, e := range entries {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	errs = append(errs, s.Store.Update(func() error {
		for _, b := range s.Store.Buckets.All(store.Truth) {
			s.Store.Buckets.Drop(b.Name)
		}
		return nil
	}))
	return errors.Join(errs...)
}

// Take gives a bucket name to another account.
func (s *Service) Take(name, account string) error {
	return s.Store.Update(func() error {
		if _, ok := s.Store.Buckets.Get(name); ok {
			return fmt.Errorf("the bucket %s exists", name)
		}
		s.Store.Buckets.Put(&store.Bucket{Name: name, Owner: account, Created: s.Now()})
		return nil
	})
}
