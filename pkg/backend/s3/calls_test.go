package s3_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// ownerless notes the requests about a bucket that do not say whose it must be.
type ownerless struct {
	mu          sync.Mutex
	with        int
	without     []string
	destination http.RoundTripper
}

func (o *ownerless) Do(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	making := r.Method == http.MethodPut && r.URL.RawQuery == "" && strings.Count(strings.Trim(r.URL.Path, "/"), "/") == 0 // CreateBucket cannot say it
	switch {
	case strings.Trim(r.URL.Path, "/") == "" || making: // STS, and ListBuckets
	case r.Header.Get("X-Amz-Expected-Bucket-Owner") == "000000000000":
		o.with++
	default:
		o.without = append(o.without, r.Method+" "+r.URL.String())
	}
	o.mu.Unlock()
	return o.destination.RoundTrip(r)
}

// TestBackend_EachCallSaysWhoseTheBucketIs takes volumes through their lives.
func TestBackend_EachCallSaysWhoseTheBucketIs(t *testing.T) {
	c := newCloud(t)
	config, seen := c.config(), &ownerless{destination: http.DefaultTransport}
	config.HTTPClient = seen
	b := c.backendOn(config, cluster)
	shared := c.bucket("shared-bucket")
	for _, parameters := range []map[string]string{{"versioning": "true"}, {"bucket": shared}} {
		v := mustCreate(t, b, "pvc-1", parameters)
		h, err := volume.ParseHandle(v.Handle)
		if err != nil {
			t.Fatal(err)
		}
		c.put(h.Root, h.Path+"a")
		if _, err := b.Get(t.Context(), v.Handle); err != nil {
			t.Error(err)
		}
		if _, _, err := b.List(t.Context(), volume.Page{}); err != nil {
			t.Error(err)
		}
		mustDelete(t, b, v.Handle)
	}
	for _, existing := range []string{"s3://" + shared, "s3://" + shared + "/given/"} {
		c.put(shared, "given/a")
		mustCreate(t, b, "pvc-2", map[string]string{"existingResourceId": existing})
		if _, err := b.Delete(t.Context(), existing); err != nil {
			t.Error(err)
		}
	}
	if len(seen.without) > 0 || seen.with < 40 {
		t.Errorf("%d calls say it, these do not: %v", seen.with, seen.without)
	}
}

// TestBackend_ProbeNeedsOneServer of several: that of another profile may be down.
func TestBackend_ProbeNeedsOneServer(t *testing.T) {
	c := newCloud(t)
	down := func(string, *volume.ObjectCredentials) (s3.API, error) {
		return nil, fault.New(fault.Unavailable, "ask", "", "connection refused")
	}
	up := func(profile string, k *volume.ObjectCredentials) (s3.API, error) {
		if profile != "up" {
			return down(profile, k)
		}
		return servers(c.config())(profile, k)
	}
	owner := backend.Owner{Driver: s3.DefaultDriver, Cluster: cluster}
	if err := s3.New(s3.Options{Owner: owner, Profiles: []string{"", "up"}, Servers: up}).Probe(t.Context()); err != nil {
		t.Error(err)
	}
	err := s3.New(s3.Options{Owner: owner, Profiles: []string{"", "other"}, Servers: down}).Probe(t.Context())
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Unavailable || strings.Count(err.Error(), "connection refused") != 2 {
		t.Errorf("no server: %v", err)
	}
}
