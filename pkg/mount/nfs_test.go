package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestMain lets this program be its own child, as diskbridge-csi is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == ChildMode {
		if err := Child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == pluginMode {
		os.Exit(plugin(os.Args[2]))
	}
	if len(os.Args) == 5 && os.Args[1] == containerMode {
		os.Exit(unstageInContainer(os.Args[2], os.Args[3], os.Args[4]))
	}
	os.Exit(m.Run())
}

const fsID = "fs-0123456789abcdef0"

func nfsPlan(t *testing.T, context map[string]string, flags ...string) volume.NFSPlan {
	t.Helper()
	plan, err := volume.NewNFSPlan(volume.PlanRequest{
		Handle: fsID, Context: context, Publish: map[string]string{volume.PublishAddress: "127.0.0.1"},
		Capability: volume.Capability{Mode: volume.MultiNodeMultiWriter, MountFlags: flags},
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// tools is a toolbox with one program, a script.
func tools(t *testing.T, name, script string) toolbox {
	t.Helper()
	box := toolbox{dirs: []string{t.TempDir()}, packages: nfsPackages}
	if err := os.WriteFile(filepath.Join(box.dirs[0], name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return box
}

func TestNFS_Stage_saysWhatIsMissing(t *testing.T) {
	needRoot(t)
	none := toolbox{dirs: []string{t.TempDir()}, packages: nfsPackages}
	for name, tc := range map[string]struct {
		tools toolbox
		plan  volume.NFSPlan
		kind  fault.Kind
		words []string
	}{
		"mount.nfs4 is not installed": {none, nfsPlan(t, nil), fault.Unsupported, []string{"mount.nfs4", "nfs-common (Debian, Ubuntu)", "nfs-utils"}},
		"mount.nfs4 is not installed, and a directory is to be made": {none, nfsPlan(t, map[string]string{
			volume.ContextUID: "1", volume.ContextGID: "1", volume.ContextPerms: "0770"}), fault.Unsupported, []string{"nfs-common"}},
		"the kernel has no NFS":    {tools(t, "mount.nfs4", "echo 'mount.nfs4: No such device' >&2; exit 32"), nfsPlan(t, nil), fault.Unsupported, []string{"kernel has no NFS client", "modprobe nfsv4"}},
		"no mount.efs":             {none, nfsPlan(t, nil, "accesspoint=fsap-0123456789abcdef0", "tls"), fault.Unsupported, []string{"mount.efs", "amazon-efs-utils"}},
		"no mounter":               {none, nfsPlan(t, map[string]string{volume.ContextTLS: "true"}), fault.Unsupported, []string{"diskbridge-csi mounter", "--mounter-socket"}},
		"the directory is missing": {tools(t, "mount.nfs4", "echo 'mount.nfs4: mounting failed, reason given by server: No such file or directory' >&2; exit 32"), nfsPlan(t, nil), fault.NotFound, []string{"no such directory"}},
		"nobody listens":           {tools(t, "mount.nfs4", "echo 'mount.nfs4: Connection refused' >&2; exit 32"), nfsPlan(t, nil), fault.Unavailable, []string{"127.0.0.1:/", "nobody serves NFS"}},
		"the security group":       {tools(t, "mount.nfs4", "echo 'mount.nfs4: Connection timed out' >&2; exit 32"), nfsPlan(t, nil), fault.Unavailable, []string{"security group", "2049"}},
		"the file system's policy": {tools(t, "mount.nfs4", "echo 'mount.nfs4: access denied by server while mounting' >&2; exit 32"), nfsPlan(t, nil), fault.Denied, []string{"elasticfilesystem:ClientMount"}},
		"something nobody foresaw": {tools(t, "mount.nfs4", "echo strange >&2; exit 1"), nfsPlan(t, nil), fault.Unavailable, []string{"strange", "exit code 1"}},
		"it said it was done":      {tools(t, "mount.nfs4", "exit 0"), nfsPlan(t, nil), fault.Internal, []string{"is not seen there"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNFS(NFSConfig{})
			n.tools = tc.tools
			wantKind(t, n.Stage(t.Context(), tc.plan, t.TempDir()), tc.kind, tc.words...)
		})
	}
}

// tunnels are those of a mounter, in memory.
type tunnels struct {
	held   map[string]bool
	failed error
}

func (t tunnels) Open(_ context.Context, _ volume.Tunnel, holder string) (uint16, error) {
	t.held[holder] = true
	return 21050, nil
}

func (t tunnels) Close(_ context.Context, _, holder string) error {
	delete(t.held, holder)
	return nil
}

func (t tunnels) Failure(context.Context, string) error { return t.failed }

// TestNFS_Stage_saysWhyItsTunnelFails, and how long it has waited, where the kernel's mount through it does not come back.
func TestNFS_Stage_saysWhyItsTunnelFails(t *testing.T) {
	needRoot(t)
	for name, tc := range map[string]struct {
		context map[string]string
		failed  error
		words   []string
	}{
		"it failed":       {map[string]string{volume.ContextTLS: "true"}, errors.New("certificate has expired"), []string{"its TLS tunnel: certificate has expired"}},
		"it works":        {map[string]string{volume.ContextTLS: "true"}, nil, []string{"its TLS tunnel reaches the mount target"}},
		"a plain one":     {nil, errors.New("certificate has expired"), []string{"security group"}},
		"on the root too": {map[string]string{volume.ContextTLS: "true", volume.ContextUID: "1", volume.ContextGID: "1", volume.ContextPerms: "0770"}, errors.New("certificate has expired"), []string{"its TLS tunnel: certificate has expired"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNFS(NFSConfig{Tunnels: tunnels{map[string]bool{}, tc.failed}, Region: "us-east-1", Wait: 300 * time.Millisecond})
			n.tools = tools(t, "mount.nfs4", "exec sleep 60")
			err := n.Stage(t.Context(), nfsPlan(t, tc.context), t.TempDir())
			wantKind(t, err, fault.Unavailable)
			for _, word := range tc.words {
				if !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), "answered within ") {
					t.Errorf("%v does not say %q", err, word)
				}
			}
			if tc.context == nil && strings.Contains(err.Error(), "TLS") {
				t.Errorf("a mount without a tunnel says %v", err)
			}
		})
	}
}

// TestNFS_Stage_givesUpItsTunnel where it failed for good: nobody asks to unstage then. What may still be mounted keeps it.
func TestNFS_Stage_givesUpItsTunnel(t *testing.T) {
	needRoot(t)
	for script, kept := range map[string]bool{
		"echo 'mount.nfs4: access denied by server' >&2; exit 32":   false,
		"echo 'mount.nfs4: No such file or directory' >&2; exit 32": false,
		"echo 'mount.nfs4: Connection refused' >&2; exit 32":        true,
		"exit 0": true,
	} {
		held := tunnels{held: map[string]bool{}}
		n := NewNFS(NFSConfig{Tunnels: held, Region: "us-east-1"})
		n.tools = tools(t, "mount.nfs4", script)
		point := t.TempDir()
		if err := n.Stage(t.Context(), nfsPlan(t, map[string]string{volume.ContextTLS: "true"}), point); err == nil || held.held[point] != kept {
			t.Errorf("%s: %v; the tunnel is held: %t, want %t", script, err, held.held[point], kept)
		}
	}
}

func TestNFS_Stage_passesTheOptions(t *testing.T) {
	needRoot(t)
	out := filepath.Join(t.TempDir(), "args")
	n := NewNFS(NFSConfig{})
	n.tools = tools(t, "mount.nfs4", `echo "$@" >`+out)
	point := t.TempDir()
	_ = n.Stage(t.Context(), nfsPlan(t, nil, "timeo=300", "nosuid"), point) // it finds out that nothing is mounted
	got, err := os.ReadFile(out)
	want := "127.0.0.1:/ " + point + " -n -o nfsvers=4.1,rsize=1048576,wsize=1048576,hard,retrans=2,noresvport,timeo=300,nosuid,retry=0\n"
	if err != nil || string(got) != want {
		t.Errorf("arguments %q (%v), want %q", got, err, want)
	}
}

func TestNFS_Stage_answersAtItsDeadline(t *testing.T) {
	needRoot(t)
	n := NewNFS(NFSConfig{Wait: 200 * time.Millisecond})
	n.tools = tools(t, "mount.nfs4", "exec sleep 60")
	begin := time.Now()
	wantKind(t, n.Stage(t.Context(), nfsPlan(t, nil), t.TempDir()), fault.Unavailable, "has not answered", "2049")
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := n.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNFS_WhatIsNotMounted(t *testing.T) {
	n, dir := NewNFS(NFSConfig{}), t.TempDir()
	target := filepath.Join(dir, "target")
	if err := errors.Join(os.Mkdir(target, 0o755), n.Unstage(t.Context(), fsID, dir), n.Unstage(t.Context(), fsID, "/no/such/path"),
		n.Unpublish(t.Context(), fsID, target), n.Unpublish(t.Context(), fsID, target)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("the target is left")
	}
	_, err := n.Stats(t.Context(), fsID, dir)
	wantKind(t, err, fault.NotFound, "not mounted there")
	wantKind(t, n.Publish(t.Context(), nfsPlan(t, nil), dir, target, false), fault.InUse, "stage the volume first")
	wantKind(t, n.Stage(t.Context(), nfsPlan(t, nil), "relative"), fault.Invalid, "absolute")
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	wantKind(t, n.Stage(t.Context(), nfsPlan(t, nil), filepath.Join(dir, "link")), fault.Invalid, "symbolic link")
}

func TestEntry_shows(t *testing.T) {
	for source, want := range map[string]map[string]bool{
		"10.0.0.5:/":        {"/": true, "": true, "/dir": false},
		"10.0.0.5:/dir":     {"/": false, "/dir": true, "/di": false},
		"[fd00::5]:/dir":    {"/dir": true, "/": false},
		"127.0.0.1:/a b/c":  {"/a b/c": true},
		"/dev/nvme1n1":      {"/": false, "": false},
		"fs-1.efs.x.com:/x": {"/x": true},
	} {
		for directory, shows := range want {
			if got := (entry{fsType: "nfs4", source: source}).shows(directory); got != shows {
				t.Errorf("%s shows %q: %t", source, directory, got)
			}
		}
	}
	if (entry{fsType: "ext4", source: "10.0.0.5:/"}).shows("/") {
		t.Error("an ext4 shows an NFS directory")
	}
}

func TestNFS_joined(t *testing.T) {
	n := NewNFS(NFSConfig{})
	at := func(address string) entry { return entry{fsType: "nfs4", super: []string{"rw", "addr=" + address}} }
	plain, secret := nfsPlan(t, nil), nfsPlan(t, map[string]string{volume.ContextTLS: "true"})
	plain.Address, secret.Address = "10.0.0.5", "10.0.0.5"
	if err := errors.Join(n.joined(plain, at("10.0.0.5"), "/x"), n.joined(plain, at("10.0.0.9"), "/x"), n.joined(secret, at("127.0.0.1"), "/x")); err != nil {
		t.Error(err)
	}
	wantKind(t, n.joined(secret, at("10.0.0.5"), "/x"), fault.Conflict, "without encryption")
	wantKind(t, n.joined(plain, at("127.0.0.1"), "/x"), fault.Conflict, "TLS tunnel")
}

func TestChild(t *testing.T) {
	n := NewNFS(NFSConfig{})
	run := func(o order) (a answer, err error) {
		err = n.work(t.Context(), "test", "x", func(task *task) (err error) {
			a, err = n.children.run(t.Context(), t.Context(), task, o)
			return err
		})
		return a, err
	}
	a, err := run(order{Do: "measure", Path: t.TempDir()})
	if err != nil || a.Stats.TotalBytes == 0 {
		t.Errorf("stats %+v (%v)", a.Stats, err)
	}
	if _, err := run(order{Do: "look", Path: "/no/such/path"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the kernel's error is lost: %v", err)
	}
	if _, err := run(order{Do: "dance"}); err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("an order that is none: %v", err)
	}
}

// needRoot leaves a test out that mounts.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}
