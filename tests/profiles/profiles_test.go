// Package profiles runs the real driver on an S3 server of an operator's own: behind TLS, with the operator's certificate
// authority, in a region of its own. It knows CSI and the server's users.
package profiles

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const region = "corp-north-1"

// front is a server of the operator's: TLS before the emulator, with a certificate that only its own CA vouches for.
type front struct {
	url, ca string
	asked   atomic.Int32
}

func newFront(t *testing.T, behind string) *front {
	t.Helper()
	to, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host // the host is signed
	}}
	server, ca := harness.TLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		pass.ServeHTTP(w, r)
	}))
	f.url, f.ca = server.URL, string(ca)
	return f
}

// profile is one in the driver's file.
func (f *front) profile(name string) string {
	return fmt.Sprintf("  %s:\n    endpoint: %s\n    region: %s\n    pathStyle: true\n    accountId: \"000000000000\"\n    ca: |\n      %s\n",
		name, f.url, region, strings.ReplaceAll(strings.TrimSpace(f.ca), "\n", "\n      "))
}

func capabilities() []*csi.VolumeCapability {
	return []*csi.VolumeCapability{{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}}
}

// TestProfiles makes, lists and deletes volumes on two servers: the one that a class names, and the one in AWS's place.
func TestProfiles(t *testing.T) {
	dir := harness.Dir(t)
	var servers []*emulator.Server
	var fronts []*front
	for range 2 {
		server, err := emulator.Start(t.Context(), emulator.Options{S3Server: s3test.Program(t), Region: region})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		})
		servers, fronts = append(servers, server), append(fronts, newFront(t, server.Endpoint()))
	}
	file := filepath.Join(dir, "profiles.yaml")
	if err := os.WriteFile(file, []byte("profiles:\n"+fronts[0].profile("default")+fronts[1].profile("corp")), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Nobody answers in AWS's place, and the region is another than the servers'.
	driver, err := sandbox.StartDriver(ctx, harness.Bin(t), sandbox.S3Driver, "controller", filepath.Join(dir, "csi"), []string{
		"HOME=" + dir, "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
	}, "--cluster-id=profiles", "--s3-profiles="+file, "--absence-interval=50ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	controller := csi.NewControllerClient(driver.Conn)
	create := func(name string, parameters map[string]string) string {
		t.Helper()
		v, err := controller.CreateVolume(ctx, &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: capabilities(), Parameters: parameters})
		if err != nil {
			t.Fatal(err)
		}
		return v.Volume.VolumeId
	}
	here := create("pvc-1", nil)
	there := create("pvc-1", map[string]string{"endpointProfile": "corp"})
	bucket := strings.TrimPrefix(there, "s3://corp@")
	within := create("pvc-2", map[string]string{"endpointProfile": "corp", "bucket": bucket})
	if !strings.HasPrefix(here, "s3://pvc-1-") || bucket == there || within != there+"/pvc-2/" {
		t.Errorf("handles %s, %s, %s", here, there, within)
	}
	if n, m := len(servers[0].State().Buckets), len(servers[1].State().Buckets); n != 1 || m != 1 {
		t.Errorf("%d and %d buckets", n, m)
	}
	var ids []string
	for token, more := "", true; more; more = token != "" {
		list, err := controller.ListVolumes(ctx, &csi.ListVolumesRequest{StartingToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Entries {
			ids = append(ids, e.Volume.VolumeId)
		}
		token = list.NextToken
	}
	slices.Sort(ids)
	want := []string{here, there, within}
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("listed %v, want %v", ids, want)
	}
	for _, id := range []string{within, there, here, here} {
		if _, err := controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
			t.Error(err)
		}
	}
	for i, f := range fronts {
		if left := servers[i].State().Buckets; len(left) > 0 || f.asked.Load() == 0 {
			t.Errorf("server %d: left %v, asked %d times", i, left, f.asked.Load())
		}
	}
}
