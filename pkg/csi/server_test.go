package csi

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func identity() *Identity {
	return &Identity{
		Driver: "ebs.csi.diskbridge.io", Version: "v0",
		Manifest: func() map[string]string { return map[string]string{"emulator": "instant"} },
		Ready:    func(context.Context) error { return nil },
	}
}

func TestServer_ReplacesAStaleSocketAndLeavesNone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "d", "csi.sock")
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- (&Server{Identity: identity(), Recorder: &record{}, Socket: socket}).Serve(ctx) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info, err := csipb.NewIdentityClient(conn).GetPluginInfo(t.Context(), &csipb.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetName() != "ebs.csi.diskbridge.io" || info.GetManifest()["emulator"] != "instant" {
		t.Errorf("GetPluginInfo = %v, %v", info, err)
	}
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v", st.Mode(), err)
	}
	t.Run("a second server is refused", func(t *testing.T) {
		err := (&Server{Identity: identity(), Recorder: &record{}, Socket: socket}).Serve(t.Context())
		if err == nil || !strings.Contains(err.Error(), "served by another process") {
			t.Errorf("Serve = %v", err)
		}
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestServer_LeavesAnotherFileAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "csi.sock")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := (&Server{Identity: identity(), Recorder: &record{}, Socket: file}).Serve(t.Context())
	if content, _ := os.ReadFile(file); err == nil || string(content) != "precious" {
		t.Errorf("Serve = %v; the file holds %q", err, content)
	}
}

func TestCheckPath(t *testing.T) {
	const root = "/var/lib/kubelet"
	for path, ok := range map[string]bool{
		root + "/pods/1/mount": true, root + "/plugins": true,
		"": false, "/": false, "relative": false, root: false, root + "/../etc": false, root + "/pods/": false,
		"/etc/passwd": false, root + "2/pods": false, "/var/lib/kubelet/pods/../../../../etc": false,
	} {
		if err := checkPath("target_path", path, root); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", path, err, ok)
		}
	}
	if err := checkPath("target_path", "/anywhere", ""); err != nil {
		t.Errorf("without a root: %v", err)
	}
}

// TestCheckPath_SymbolicLinks has links below the root, and a root that is one itself.
func TestCheckPath_SymbolicLinks(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "kubelet")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "disk/pods"), 0o755), os.MkdirAll(filepath.Join(dir, "etc"), 0o755), os.Symlink("disk", root),
		os.Symlink("pods", filepath.Join(root, "inside")), os.Symlink("../etc", filepath.Join(root, "outside")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, ok := range map[string]bool{"pods/mount": true, "inside/mount": true, "mount": true, "none/mount": true, "outside": true, "outside/mount": false} {
		if err := checkPath("target_path", filepath.Join(root, path), root); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", path, err, ok)
		}
	}
}

func TestSizeLimitsOfTheSpecification(t *testing.T) {
	if err := checkString("name", strings.Repeat("x", 129)); err == nil {
		t.Error("129 bytes must be refused")
	}
	if err := checkMap("parameters", map[string]string{"k": strings.Repeat("x", 4096)}); err == nil {
		t.Error("more than 4 KiB must be refused")
	}
	for name, ok := range map[string]bool{"pvc-1": true, "two\nlines": true, "größe": true, "nul\x00": false, "bell\a": false, "del\x7f": false, "c1\u0085": false} {
		if err := checkString("name", name); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", name, err, ok)
		}
	}
}

func TestToRequirement_APlaceThatNobodyKnowsIsRefused(t *testing.T) {
	place := func(key, value string) *csipb.Topology {
		return &csipb.Topology{Segments: map[string]string{key: value}}
	}
	for name, tc := range map[string]struct {
		requisite []*csipb.Topology
		zones     int
		refused   string
	}{
		"nothing asked":                       {},
		"anywhere":                            {requisite: []*csipb.Topology{{}}},
		"a zone":                              {requisite: []*csipb.Topology{place(volume.ZoneKey, "us-east-1a")}, zones: 1},
		"the EBS CSI driver's key":            {requisite: []*csipb.Topology{place(volume.EBSZoneKey, "us-east-1a")}, zones: 1},
		"a zone's id":                         {requisite: []*csipb.Topology{place(volume.ZoneIDKey, "use1-az1")}, zones: 1},
		"a zone beside what is nothing to us": {requisite: []*csipb.Topology{{Segments: map[string]string{volume.ZoneKey: "us-east-1a", "kubernetes.io/os": "linux"}}}, zones: 1},
		"only what is nothing to us":          {requisite: []*csipb.Topology{place("topology.kubernetes.io/zones", "us-east-1a")}, refused: `"topology.kubernetes.io/zones"`},
	} {
		got, err := toRequirement(&csipb.TopologyRequirement{Requisite: tc.requisite})
		if (err == nil) != (tc.refused == "") || err != nil && !strings.Contains(err.Error(), tc.refused) || len(got.Candidates()) != tc.zones {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestNodeGetInfo_AnswersTheKeysOfADriverWeStandInFor(t *testing.T) {
	n := NewNode(Node{ID: "i-1", Topology: volume.Topology{Zone: "us-east-1a"}, ZoneKeys: []string{volume.EBSZoneKey}})
	info, err := n.NodeGetInfo(t.Context(), &csipb.NodeGetInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{volume.ZoneKey, volume.EBSZoneKey} {
		if got := info.GetAccessibleTopology().GetSegments()[key]; got != "us-east-1a" {
			t.Errorf("%s = %q", key, got)
		}
	}
}
