package registration_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/diskbridge/diskbridge/pkg/registration"
	"github.com/diskbridge/diskbridge/pkg/socket"
)

const (
	driver   = "ebs.csi.diskbridge.io"
	endpoint = "/var/lib/kubelet/plugins/ebs.csi.diskbridge.io/csi.sock"
)

// kubelet plays kubelet's plugin watcher on a folder of its own.
type kubelet struct {
	t   *testing.T
	dir string
}

func newKubelet(t *testing.T) *kubelet {
	t.Helper()
	dir, err := os.MkdirTemp("", "db-") //nolint:usetesting // TempDir has the name of the test in it: too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &kubelet{t: t, dir: dir}
}

// eventually waits for a condition; the limit only bounds a test that fails.
func (k *kubelet) eventually(what string, check func() error) {
	k.t.Helper()
	var last error
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if last = check(); last == nil {
			return
		}
		select {
		case <-deadline:
			k.t.Fatalf("waited in vain until %s: %v", what, last)
		case <-again.C:
		}
	}
}

// find waits for a socket other than the given one, and returns it.
func (k *kubelet) find(but os.FileInfo) (info os.FileInfo) {
	k.t.Helper()
	k.eventually("there is a new socket", func() (err error) {
		info, err = os.Lstat(registration.Socket(k.dir, driver))
		if err == nil && but != nil && info.ModTime().Equal(but.ModTime()) {
			err = errors.New("it is still the old one")
		}
		return err
	})
	return info
}

// register asks the plugin who it is, and tells it the decision: "" or the reason against it.
func (k *kubelet) register(refusal string) *registerapi.PluginInfo {
	k.t.Helper()
	conn, err := grpc.NewClient("unix://"+registration.Socket(k.dir, driver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		k.t.Fatal(err)
	}
	defer conn.Close()
	client := registerapi.NewRegistrationClient(conn)
	info, err := client.GetInfo(k.t.Context(), &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		k.t.Fatal(err)
	}
	_, err = client.NotifyRegistrationStatus(k.t.Context(), &registerapi.RegistrationStatus{PluginRegistered: refusal == "", Error: refusal})
	if err != nil {
		k.t.Fatal(err)
	}
	return info
}

// start serves a plugin until the test ends.
func (k *kubelet) start(ready func(context.Context) error) *registration.Plugin {
	k.t.Helper()
	p := registration.New(registration.Options{Driver: driver, Dir: k.dir, Endpoint: endpoint, Ready: ready, Interval: 5 * time.Millisecond})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx) }()
	k.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			k.t.Errorf("Serve = %v", err)
		}
		if left, _ := filepath.Glob(k.dir + "/*"); len(left) > 0 {
			k.t.Errorf("left in kubelet's folder: %v", left)
		}
	})
	return p
}

func always(context.Context) error { return nil }

func TestPlugin_TellsKubeletWhoItIs(t *testing.T) {
	k := newKubelet(t)
	p := k.start(always)
	k.find(nil)
	info := k.register("")
	if info.GetType() != "CSIPlugin" || info.GetName() != driver || info.GetEndpoint() != endpoint || strings.Join(info.GetSupportedVersions(), " ") != "1.0.0" {
		t.Errorf("GetInfo = %v", info)
	}
	if err := p.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

func TestPlugin_IsShownOnlyOnceItIsReady(t *testing.T) {
	k := newKubelet(t)
	var asked atomic.Int32
	k.start(func(context.Context) error {
		if _, err := os.Lstat(registration.Socket(k.dir, driver)); err == nil {
			t.Error("the socket is there before the plugin is ready")
		}
		if asked.Add(1) < 4 {
			return errors.New("EC2 does not answer")
		}
		return nil
	})
	k.find(nil)
	if n := asked.Load(); n != 4 {
		t.Errorf("it asked %d times", n)
	}
}

func TestPlugin_Refusal(t *testing.T) {
	k := newKubelet(t)
	p := k.start(always)
	first := k.find(nil)
	k.register("no such endpoint")
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "no such endpoint") || !strings.Contains(err.Error(), driver) {
		t.Errorf("Err = %v, want kubelet's reason", err)
	}
	t.Run("kubelet is shown a new socket, since it asks no old one again", func(*testing.T) { k.find(first) })
	t.Run("success clears the error", func(t *testing.T) {
		k.register("")
		if err := p.Err(); err != nil {
			t.Errorf("Err = %v", err)
		}
	})
}

func TestPlugin_MakesTheSocketAgain(t *testing.T) {
	t.Run("kubelet's folder was emptied", func(t *testing.T) {
		k := newKubelet(t)
		k.start(always)
		first := k.find(nil)
		k.register("")
		if err := os.Remove(registration.Socket(k.dir, driver)); err != nil {
			t.Fatal(err)
		}
		k.find(first)
		k.register("")
	})
	t.Run("the folder itself was replaced", func(t *testing.T) {
		k := newKubelet(t)
		p := k.start(always)
		first := k.find(nil)
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
		k.find(first)
		k.register("")
		if err := p.Err(); err != nil {
			t.Errorf("Err = %v", err)
		}
	})
	t.Run("another process took the place: it says so and leaves that one alone", func(t *testing.T) {
		k := newKubelet(t)
		p := k.start(always)
		k.find(nil)
		path := registration.Socket(k.dir, driver)
		other, err := socket.Listen(t.Context(), filepath.Join(k.dir, "other"))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := os.Rename(filepath.Join(k.dir, "other"), path); err != nil {
			t.Fatal(err)
		}
		k.eventually("the plugin says so", func() error {
			if err := p.Err(); err == nil || !strings.Contains(err.Error(), "served by another process") {
				return errors.New("not yet")
			}
			return nil
		})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		k.eventually("kubelet can ask again", func() error { _, err := os.Lstat(path); return err })
		k.register("")
	})
}

func TestPlugin_LivingSocketIsRefused(t *testing.T) {
	k := newKubelet(t)
	other, err := socket.Listen(t.Context(), registration.Socket(k.dir, driver))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	p := registration.New(registration.Options{Driver: driver, Dir: k.dir, Endpoint: endpoint, Ready: always})
	if err := p.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("Serve = %v", err)
	}
	if other.Lost() {
		t.Error("it took the other's socket away")
	}
}
