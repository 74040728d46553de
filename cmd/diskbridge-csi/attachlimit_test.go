package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/emulator/imds"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	driver  = "ebs.csi.diskbridge.io"
	plugins = "/plugins/kubernetes.io/csi/"
)

// machine is an instance with the emulator's metadata service.
type machine struct {
	typ  string
	macs []string
}

func (m *machine) Info() (imds.Info, bool) {
	return imds.Info{ID: "i-00000000000000001", Type: m.typ, Zone: "us-east-1a", Region: "us-east-1", MACs: m.macs}, true
}

func (*machine) Credentials(string) imds.Credentials { return imds.Credentials{} }

// serve makes the machine's metadata service the one that this process asks.
func (m *machine) serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(imds.New(m, time.Now))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	return server
}

func wantLimit(t *testing.T, a *attachments, want int64) {
	t.Helper()
	if got, err := a.limit(t.Context()); err != nil || got != want {
		t.Errorf("limit = %d, %v; want %d because of %q", got, err, want, a.logged)
	}
}

// wantAttached also proves that what metrics say of the limit is what NodeGetInfo says.
func wantAttached(t *testing.T, a *attachments, want int64) {
	t.Helper()
	limit, err := a.limit(t.Context())
	if attached, shown, errUsage := a.usage(t.Context()); err != nil || errUsage != nil || attached != want || shown != limit {
		t.Errorf("usage = %d of %d, %v, %v; want %d of %d", attached, shown, err, errUsage, want, limit)
	}
}

// onNode makes attachments that see a node's disks.
func onNode(n *mounttest.Node, pathRoot string) *attachments {
	block := mount.NewBlock(mount.Config{DeviceRoot: n.DeviceRoot, SysfsRoot: n.SysfsRoot})
	return newAttachments(&config.Settings{PathRoot: pathRoot}, driver, block)
}

func TestAttachments_FollowTheMetadataService(t *testing.T) {
	m := &machine{typ: "m5.large", macs: []string{"02:00:00:00:00:01"}}
	server := m.serve(t)
	a := newAttachments(&config.Settings{}, driver, mount.NewBlock(mount.Config{SysfsRoot: t.TempDir()}))
	now := time.Now()
	a.instance.now = func() time.Time { return now }
	wantLimit(t, a, 26)
	m.macs = append(m.macs, "02:00:00:00:00:02", "02:00:00:00:00:03")
	wantLimit(t, a, 24)
	server.Close()
	wantLimit(t, a, 24) // as last known

	b := newAttachments(&config.Settings{InstanceType: "m7i.48xlarge"}, driver, mount.NewBlock(mount.Config{SysfsRoot: t.TempDir()}))
	wantLimit(t, b, 127)
}

func TestAttachments_LeaveASilentMetadataServiceAlone(t *testing.T) {
	a := newAttachments(&config.Settings{}, driver, mount.NewBlock(mount.Config{SysfsRoot: t.TempDir()}))
	asked, now, answer := 0, time.Now(), errors.New("no route")
	a.instance.now = func() time.Time { return now }
	a.instance.interfaces = func(context.Context) (int, error) { asked++; return 2, answer }
	a.instance.identity = func(context.Context) (aws.Identity, error) { return aws.Identity{Type: "m5d.large"}, nil }
	for range 3 {
		wantLimit(t, a, 26) // the default for a type that nobody says
	}
	if asked != 1 {
		t.Errorf("asked %d times at once", asked)
	}
	now, answer = now.Add(metadataRest), nil
	wantLimit(t, a, 24) // 26 of the type, less an interface and the root
	if asked != 2 {
		t.Errorf("asked %d times, want again after a while", asked)
	}
}

func TestAttachments_TheFlagIsTheLimit(t *testing.T) {
	a := newAttachments(&config.Settings{VolumeAttachLimit: 7}, driver, mount.NewBlock(mount.Config{SysfsRoot: t.TempDir()}))
	a.disks = func() ([]mount.Attached, error) { return nil, errors.New("must not be asked") }
	wantLimit(t, a, 7)
}

func TestAttachments_NoLimitWithoutTheTruth(t *testing.T) {
	a := newAttachments(&config.Settings{InstanceType: "m5.large"}, driver, mount.NewBlock(mount.Config{SysfsRoot: t.TempDir()}))
	a.disks = func() ([]mount.Attached, error) { return nil, errors.New("the mount table cannot be read") }
	if got, err := a.limit(t.Context()); err == nil {
		t.Errorf("limit = %d, but the volumes of others could not be counted", got)
	}
}

// TestAttachments_TwoDriversOnOneNode shows that what one stages shortens the other's limit and not its own, also after a restart.
func TestAttachments_TwoDriversOnOneNode(t *testing.T) {
	n := mounttest.NewNode(t)
	(&machine{typ: "m5.large", macs: []string{"02:00:00:00:00:01"}}).serve(t)
	n.Attach("vol0root", 1<<20)
	ours, theirs := onNode(n, n.Dir), onNode(n, n.Dir)
	theirs.owner.Driver = "ebs.csi.aws.com"
	wantLimit(t, ours, 26)
	for _, v := range []struct {
		a      *attachments
		id     string
		driver string
	}{{ours, "0aaaaaaaaaaaaaaaa", driver}, {theirs, "0bbbbbbbbbbbbbbbb", "ebs.csi.aws.com"}, {theirs, "0cccccccccccccccc", "ebs.csi.aws.com"}} {
		n.Attach("vol"+v.id, 64<<20)
		plan := volume.BlockPlan{Handle: "vol-" + v.id, Serial: "vol" + v.id, FSType: volume.Ext4, MayFormat: true}
		if err := v.a.Stage(t.Context(), plan, n.Mkdir(plugins+v.driver+"/"+v.id+"/globalmount")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		wantLimit(t, ours, 24)   // 26 less two of theirs
		wantLimit(t, theirs, 25) // 26 less one of ours
		wantAttached(t, ours, 1)
		wantAttached(t, theirs, 2)
		ours, theirs = onNode(n, n.Dir), onNode(n, n.Dir)
		theirs.owner.Driver = "ebs.csi.aws.com"
	}
	n.Attach("vol0dddddddddddddddd", 1<<20)
	wantLimit(t, ours, 23) // nobody's yet
}

// TestAttachments_RememberWhatPathsDoNotSay stages a raw volume, which has no mount until it is published.
func TestAttachments_RememberWhatPathsDoNotSay(t *testing.T) {
	n := mounttest.NewNode(t)
	(&machine{typ: "m5.large", macs: []string{"02:00:00:00:00:01"}}).serve(t)
	n.Attach("vol0root", 1<<20)
	n.Attach("vol0aaaaaaaaaaaaaaaa", 1<<20)
	a := onNode(n, "")
	wantLimit(t, a, 25)
	plan := volume.BlockPlan{Handle: "vol-0aaaaaaaaaaaaaaaa", Serial: "vol0aaaaaaaaaaaaaaaa", Raw: true}
	staging, target := n.Mkdir(plugins+"volumeDevices/staging/pvc-1"), n.Mkdir(plugins+"volumeDevices/publish/pvc-1")+"/pod"
	if err := errors.Join(a.Stage(t.Context(), plan, staging), a.Publish(t.Context(), plan, staging, target, false)); err != nil {
		t.Fatal(err)
	}
	wantLimit(t, a, 26)
	a = onNode(n, "")
	wantLimit(t, a, 25) // a restarted process cannot tell, as long as kubelet does not say it
	data := filepath.Join(n.Mkdir(plugins+"volumeDevices/pvc-1/data"), "vol_data.json")
	if err := os.WriteFile(data, []byte(`{"driverName":"`+driver+`","volumeHandle":"vol-0aaaaaaaaaaaaaaaa"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantLimit(t, a, 26)
	if err := errors.Join(a.Unpublish(t.Context(), plan.Handle, target), a.Unstage(t.Context(), plan.Handle, staging)); err != nil {
		t.Fatal(err)
	}
	wantLimit(t, a, 25) // not ours any more, and not detached yet
}
