package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startWait = 30 * time.Second // how long the server may take until it answers
	stopWait  = 5 * time.Second  // how long it may take to end
)

// server is the running versitygw. It ends at the latest when this process does.
type server struct {
	socket string
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
	log    tail
}

// startServer runs the server on a socket of its own, so that only this process' requests reach it.
func startServer(ctx context.Context, c Config) (*server, error) {
	dir, err := os.MkdirTemp("", "s3-") // a socket's path is at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &server{socket: filepath.Join(dir, "sock"), done: make(chan struct{})}
	s.cmd = exec.Command(c.Server, "--port", s.socket, "--region", c.Region, "--quiet", //nolint:gosec,noctx // the operator's program; its life is close's, not the context's that starts it
		"posix", "--versioning-dir", c.versions(), c.objects())
	s.cmd.Env = []string{"ROOT_ACCESS_KEY=" + c.AccessKeyID, "ROOT_SECRET_KEY=" + c.SecretAccessKey, "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w (`make versitygw` puts it into bin/)", err), os.RemoveAll(dir))
	}
	go func() {
		_ = s.cmd.Wait() // its log says why it ended
		close(s.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// ready waits until somebody listens.
func (s *server) ready(ctx context.Context) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-again.C:
		case <-s.done:
			return fmt.Errorf("versitygw ended at once: %s", s.log.String())
		case <-ctx.Done():
			return fmt.Errorf("versitygw does not listen: %s", s.log.String())
		}
	}
}

func (s *server) close() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // one that has ended needs none
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	return os.RemoveAll(filepath.Dir(s.socket))
}

// tail keeps the end of what the server wrote.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxTail = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-maxTail):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
