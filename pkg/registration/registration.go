package registration

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/socket"
)

// Options describe a plugin to kubelet.
type Options struct {
	Driver   string
	Dir      string                      // where kubelet looks for plugins, as this process sees it
	Endpoint string                      // the CSI socket, as kubelet sees it
	Ready    func(context.Context) error // nil once the plugin answers on its CSI socket
	Interval time.Duration               // between two looks at readiness and at the socket; default 1 s
}

// Plugin is one driver that kubelet registers.
type Plugin struct {
	registerapi.UnimplementedRegistrationServer

	opts   Options
	socket string

	mu       sync.Mutex
	err      error
	known    bool      // kubelet has registered us
	refusals int       // in a row
	again    time.Time // zero unless kubelet must find a new socket then
}

var _ registerapi.RegistrationServer = (*Plugin)(nil)

// New makes a Plugin. Serve it.
func New(opts Options) *Plugin {
	if opts.Interval <= 0 {
		opts.Interval = time.Second
	}
	return &Plugin{opts: opts, socket: Socket(opts.Dir, opts.Driver)}
}

// Socket returns the path of a driver's registration socket in kubelet's folder.
func Socket(dir, driver string) string { return filepath.Join(dir, driver+"-reg.sock") }

const op = "register with kubelet"

// errAnew ends one socket so that the next one is made.
var errAnew = errors.New("make the socket anew")

// Serve waits until the plugin is ready and then shows kubelet a socket until ctx
// ends. The socket is made anew when it is lost (kubelet's folder was emptied) and,
// after a while, when kubelet has refused: it tries again for a new socket only
// (k8s.io/kubernetes, pkg/kubelet/pluginmanager). Its error is that of the first
// socket, such as one that another process serves; a later one is told by Err and
// tried again.
func (p *Plugin) Serve(ctx context.Context) error {
	if !p.awaitReady(ctx) {
		return nil
	}
	for first := true; ; first = false {
		served, err := p.serveOnce(ctx)
		if ctx.Err() != nil || err != nil && first && !served {
			return err
		}
		if err != nil {
			klog.FromContext(ctx).Error(p.fail(err.Error()), "Registration with kubelet failed; trying again", "driver", p.opts.Driver)
		}
		if !p.pause(ctx) {
			return nil
		}
	}
}

// Err returns why kubelet does not know the plugin, as far as that was told; nil
// before kubelet has asked.
func (p *Plugin) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Registered reports whether kubelet has registered this very process.
func (p *Plugin) Registered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// GetInfo answers kubelet's first question.
func (p *Plugin) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: p.opts.Driver, Endpoint: p.opts.Endpoint,
		SupportedVersions: []string{"1.0.0"}, // of CSI, as kubelet compares it
	}, nil
}

// NotifyRegistrationStatus learns how kubelet has decided.
func (p *Plugin) NotifyRegistrationStatus(ctx context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	logger := klog.FromContext(ctx).WithValues("driver", p.opts.Driver)
	if s.GetPluginRegistered() {
		p.mu.Lock()
		p.err, p.known, p.refusals, p.again = nil, true, 0, time.Time{}
		p.mu.Unlock()
		logger.Info("Registered with kubelet", "endpoint", p.opts.Endpoint)
		return &registerapi.RegistrationStatusResponse{}, nil
	}
	err := p.fail("kubelet refused the plugin: " + s.GetError())
	p.mu.Lock()
	wait := p.opts.Interval << min(p.refusals, 6) // 2 s at first, a minute at last
	p.again = time.Now().Add(wait)
	p.mu.Unlock()
	logger.Error(err, "Registration with kubelet failed; trying again", "in", wait.String())
	return &registerapi.RegistrationStatusResponse{}, nil
}

func (p *Plugin) fail(why string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = fault.New(fault.Unavailable, op, p.opts.Driver, "%s", why)
	p.refusals++
	return p.err
}

// serveOnce shows one socket until it is lost or must be made anew; served says that
// it was shown.
func (p *Plugin) serveOnce(ctx context.Context) (served bool, err error) {
	listener, err := socket.Listen(ctx, p.socket)
	if err != nil {
		return false, fault.Wrap(op, p.opts.Driver, err)
	}
	klog.FromContext(ctx).V(2).Info("Waiting for kubelet", "driver", p.opts.Driver, "socket", p.socket)
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, p)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return socket.Serve(ctx, server, listener) })
	group.Go(func() error { return p.watch(ctx, listener) })
	if err := group.Wait(); !errors.Is(err, errAnew) {
		return true, err
	}
	return true, nil
}

// watch returns errAnew when the socket must be made anew, and nil when ctx ends.
func (p *Plugin) watch(ctx context.Context, listener *socket.Listener) error {
	for p.pause(ctx) {
		p.mu.Lock()
		due := !p.again.IsZero() && time.Now().After(p.again)
		if due {
			p.again = time.Time{}
		}
		p.mu.Unlock()
		if due || listener.Lost() {
			return errAnew
		}
	}
	return nil
}

func (p *Plugin) awaitReady(ctx context.Context) bool {
	for told := false; ctx.Err() == nil; {
		err := p.opts.Ready(ctx)
		if err == nil {
			return true
		}
		if !told {
			klog.FromContext(ctx).Info("Kubelet will see this driver once it is ready", "driver", p.opts.Driver, "reason", err.Error())
			told = true
		}
		if !p.pause(ctx) {
			return false
		}
	}
	return false
}

// pause waits for an interval and reports whether ctx still runs.
func (p *Plugin) pause(ctx context.Context) bool {
	timer := time.NewTimer(p.opts.Interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
