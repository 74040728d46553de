package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startAgain is how long a program that ended waits before it is started again, as a kubelet does it at first.
const startAgain = 200 * time.Millisecond

// Instance is a machine of the emulated AWS.
type Instance struct {
	ID   string `json:"id"`
	Zone string `json:"zone"`
}

// Alone is a control plane without nodes and namespaces: plain processes at free ports of 127.0.0.1, which needs no root.
// It has an emulated AWS without devices.
type Alone struct {
	*Cluster
	Instances []Instance

	life    context.Context //nolint:containedctx // that of the programs, which outlive the call that starts them
	end     context.CancelFunc
	group   sync.WaitGroup
	mu      sync.Mutex
	running map[string]*os.Process
}

// WithAlone runs work with a control plane, ends that whatever work did, and returns work's exit status. Of a run that failed
// the logs are kept.
func WithAlone(work func(*Alone) int) int {
	paths, err := FindPaths()
	if err != nil {
		return complain(err)
	}
	paths.Run = filepath.Join(paths.Kube, "alone")
	lock, err := paths.lock()
	if err != nil {
		return complain(err)
	}
	defer lock.Close() //nolint:errcheck // it was only locked
	if err := paths.Sweep(); err != nil {
		return complain(err)
	}
	a := &Alone{Cluster: &Cluster{Paths: paths}, running: map[string]*os.Process{}}
	a.launch = func(_ context.Context, name, program string, args ...string) error {
		return a.Keep(name, program, nil, args...)
	}
	a.life, a.end = context.WithCancel(context.Background())
	code := 1
	if err := a.start(); err != nil {
		_ = complain(err)
	} else if code = work(a); code != 0 {
		a.Dump(a.life)
	}
	a.stop()
	if err := paths.Sweep(); err != nil {
		return complain(err)
	}
	return code
}

func (a *Alone) start() error {
	ports, err := freePorts(a.life, 4)
	if err != nil {
		return err
	}
	a.at = addresses{host: "127.0.0.1", bind: "127.0.0.1", api: ports[0], etcd: ports[1], peers: ports[2], aws: ports[3], alone: true}
	return a.take(a.life, []step{
		{"certificates", a.certificates},
		{"AWS", a.startAWS},
		{"control plane", a.startControlPlane},
		{"namespace", func(ctx context.Context) error {
			return Until(ctx, "default service account", func(ctx context.Context) error {
				_, err := a.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
				return err
			})
		}},
	})
}

// freePorts are ports of 127.0.0.1 that nobody listened at a moment ago.
func freePorts(ctx context.Context, n int) (ports []string, err error) {
	for range n {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() //nolint:errcheck // not before all are chosen, so that they differ
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// startAWS starts an emulator with an instance in each of two zones.
func (a *Alone) startAWS(ctx context.Context) error {
	if err := a.Keep("aws-emulator", a.Paths.Bin+"/aws-emulator", nil, "--listen=127.0.0.1:"+a.at.aws, "--state-dir="+a.Paths.AWS(),
		"--profile=reference", "--instances=2"); err != nil {
		return err
	}
	return Until(ctx, "aws-emulator", func(ctx context.Context) error {
		return a.Emulator(ctx, http.MethodGet, "instances", "", &a.Instances)
	})
}

// Keep starts a program, with its output in the log NAME, and starts it again whenever it ends, as a kubelet does it with a
// container, until the control plane ends. env is beside what all programs have.
func (a *Alone) Keep(name, program string, env []string, args ...string) error {
	log, err := os.OpenFile(a.Paths.run("logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	run := func() (*exec.Cmd, error) {
		cmd := exec.CommandContext(a.life, program, args...)
		cmd.Env = append(a.Paths.environment(), env...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also where the test is killed
		err := cmd.Start()
		if err == nil {
			a.mu.Lock()
			a.running[name] = cmd.Process
			a.mu.Unlock()
		}
		return cmd, err
	}
	cmd, err := run()
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	a.group.Go(func() {
		defer log.Close() //nolint:errcheck // written by the programs
		for {
			if err == nil {
				_ = cmd.Wait() // however it ends it is started again
			}
			select {
			case <-a.life.Done():
				return
			case <-time.After(startAgain):
			}
			cmd, err = run()
		}
	})
	return nil
}

// Kill ends a program at once; it is then started again.
func (a *Alone) Kill(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running[name].Kill()
}

// stop ends every program at once and waits for all.
func (a *Alone) stop() {
	a.end()
	a.group.Wait()
}
