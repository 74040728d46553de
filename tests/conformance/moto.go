package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// moto is an independent emulation of AWS; Debian packages it from trixie on.
const (
	suite    = "trixie"
	packages = "python3-moto,python3-flask,python3-flask-cors"
	server   = "usr/bin/moto_server" // below the root
)

// mmdebstrap runs in namespaces of its own: what it mounts and starts ends with it, however it ends.
var bootstrap = []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
	"mmdebstrap", "--quiet", "--variant=minbase", "--include=" + packages, suite}

// motoRoot is a Debian with moto in it, made at the first call and kept in the user's cache. Its name holds how it is
// made, so that a change of the recipe makes a new one. Needs root.
func motoRoot(ctx context.Context, log io.Writer) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("a folder for moto: %w", err)
	}
	cache = filepath.Join(cache, "diskbridge")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("a folder for moto: %w", err)
	}
	unlock, err := lock(filepath.Join(cache, "moto.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	recipe := sha256.Sum256([]byte(strings.Join(bootstrap, " ")))
	root := filepath.Join(cache, fmt.Sprintf("moto-%x", recipe[:6]))
	if _, err := os.Stat(filepath.Join(root, server)); err == nil {
		return root, nil
	}
	old, err := filepath.Glob(filepath.Join(cache, "moto-*")) // of another recipe, or not finished
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		if mounts, err := sandbox.Mounts(dir); err != nil || len(mounts) > 0 {
			return "", errors.Join(err, fmt.Errorf("remove an old moto: unmount %v first", mounts))
		}
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("remove an old moto: %w", err)
		}
	}
	mirror, err := debianMirror(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(log, "installing moto into %s (once, about a minute)\n", root)
	return root, install(ctx, root, mirror)
}

// install makes the root; it is there whole or not at all.
func install(ctx context.Context, root, mirror string) (err error) {
	unfinished, temporary := root+".new", root+".tmp"
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished), os.RemoveAll(temporary)) }()
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, bootstrap[0], append(bootstrap[1:len(bootstrap):len(bootstrap)], unfinished, mirror)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap %s: %w\n%s", suite, err, out)
	}
	return os.Rename(unfinished, root)
}

// lock keeps two runs from making the same thing.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks, and nothing was written
}

// debianMirror is where this machine gets its own Debian packages from.
func debianMirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT) $(RELEASE)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	codename := regexp.MustCompile(`(?m)^VERSION_CODENAME="?(\w+)`).FindSubmatch(release)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == "main" && codename != nil && f[2] == string(codename[1]) {
			return f[0], nil
		}
	}
	return "", errors.New("apt's sources name no Debian mirror: this needs a Debian machine")
}

// motoServer is a running moto.
type motoServer struct {
	cmd      *exec.Cmd
	endpoint string
	log      string // a file
}

var motoReady = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// startMoto starts moto from its root, on a free port of the loopback interface, and waits until it serves.
func startMoto(ctx context.Context, root, dir string) (*motoServer, error) {
	m := &motoServer{log: filepath.Join(dir, "moto.log")}
	log, err := os.Create(m.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	m.cmd = exec.CommandContext(ctx, "/"+server, "-H", "127.0.0.1", "-p", "0")
	m.cmd.Env = []string{"HOME=/root", "MOTO_ACCOUNT_ID=" + account, "PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"}
	m.cmd.Dir, m.cmd.Stdout, m.cmd.Stderr = "/", log, log
	// The first process of its namespace takes all others with it.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start moto in %s: %w", root, err)
	}
	if m.endpoint, err = m.ready(ctx); err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

// ready waits for the line that names the port.
func (m *motoServer) ready(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		text, err := os.ReadFile(m.log)
		if err != nil {
			return "", err
		}
		if found := motoReady.FindSubmatch(text); found != nil {
			return string(found[1]), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("moto does not serve: %w\n%s", ctx.Err(), text)
		case <-again.C:
		}
	}
}

// stop ends moto. It has nothing to keep.
func (m *motoServer) stop() {
	_ = m.cmd.Process.Kill() // it may have ended
	_ = m.cmd.Wait()         // killed: that is its answer
}
