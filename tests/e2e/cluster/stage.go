package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageVariable says which part of the cluster a process of this program is.
const stageVariable = "DISKBRIDGE_E2E_STAGE"

// The stages. A process without one is outside: it makes the namespaces, waits, and sweeps.
const (
	stageInit   = "init"   // the first process in the namespaces; its end is everybody's
	stageInside = "inside" // its child, which runs the cluster and the work
	stageNode   = "node"   // the first process in a node's own namespaces
)

// Within runs work in namespaces in which a cluster can be started, and returns its exit status. The program runs itself
// again for that, with the same arguments: nothing before Within may have effects. However work or this process ends, by
// a signal too, nothing is left; only after a SIGKILL of this process the next call sweeps what the kernel does not.
func Within(work func(Paths) int) int {
	paths, err := FindPaths()
	if err != nil {
		return complain(err)
	}
	switch os.Getenv(stageVariable) {
	case stageInit:
		return runInit(stageInside)
	case stageInside:
		return work(paths)
	case stageNode:
		return runNode()
	}
	return outside(paths)
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "cluster:", err)
	return 1
}

// outside owns the run folder for as long as it lives.
func outside(paths Paths) int {
	if os.Geteuid() != 0 {
		return complain(errors.New("namespaces, mounts and loop devices need root: run it with sudo"))
	}
	if err := paths.check(); err != nil {
		return complain(err)
	}
	lock, err := paths.lock()
	if err != nil {
		return complain(err)
	}
	defer lock.Close() //nolint:errcheck // it was only locked
	if err := paths.Sweep(); err != nil {
		return complain(err)
	}
	// Whoever started this process may be killed: then it goes too, and with it the cluster.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The death signal comes when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	init := self(ctx, stageInit)
	init.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET
	init.SysProcAttr.Unshareflags = 0
	if err := init.Start(); err != nil {
		return complain(fmt.Errorf("make namespaces: %w", err))
	}
	if err := os.WriteFile(paths.run("pid"), []byte(strconv.Itoa(init.Process.Pid)), 0o600); err != nil {
		_ = init.Process.Kill()
	}
	ended := make(chan error, 1)
	go func() { ended <- init.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = init.Process.Kill()
		err = errors.Join(ctx.Err(), <-ended)
	}
	if swept := paths.Sweep(); swept != nil {
		return complain(swept)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	case err != nil:
		return complain(err)
	}
	return 0
}

// self is this program again, with the same arguments, as another stage. It dies with the thread that starts it.
func self(ctx context.Context, stage string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// runInit is the first process of a process namespace: it starts the next stage and buries every orphan.
func runInit(next string) int {
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
	); err != nil {
		return complain(fmt.Errorf("private mounts: %w", err))
	}
	child := self(context.Background(), next)
	child.SysProcAttr = nil
	if err := child.Start(); err != nil {
		return complain(err)
	}
	return bury(child.Process.Pid)
}

// bury waits for every process that this one is the parent of, until child ends, and returns child's exit status.
func bury(child int) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return complain(fmt.Errorf("wait: %w", err))
		case pid == child && status.Signaled():
			return 128 + int(status.Signal())
		case pid == child && status.Exited():
			return status.ExitStatus()
		}
	}
}

// Paths are where everything is.
type Paths struct {
	Root string // the repository
	Bin  string // our own binaries
	Kube string // those of Kubernetes, which tests/e2e/build makes
	Run  string // what lives as long as the cluster
}

// FindPaths looks for the repository from the working directory on upwards.
func FindPaths() (Paths, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Paths{}, err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tests/e2e/go.mod")); err == nil {
			break
		}
		if dir == "/" {
			return Paths{}, errors.New("run it inside the repository: there is no tests/e2e/go.mod above the working directory")
		}
	}
	bin := filepath.Join(dir, "bin")
	return Paths{Root: dir, Bin: bin, Kube: filepath.Join(bin, "cluster"), Run: filepath.Join(bin, "cluster/run")}, nil
}

func (p Paths) run(parts ...string) string {
	return filepath.Join(append([]string{p.Run}, parts...)...)
}

// Images is where docker archives are: all of them are loaded into each node.
func (p Paths) Images() string { return filepath.Join(p.Bin, "images") }

// AWS is the emulator's folder, on all nodes.
func (p Paths) AWS() string { return p.run("aws") }

// Ready is a file that says how to use a cluster that was left running.
func (p Paths) Ready() string { return p.run("ready") }

// Owner is the process that holds the run folder; false if none does.
func (p Paths) Owner() (int, bool) {
	file, err := os.Open(p.Run + ".lock")
	if err != nil {
		return 0, false
	}
	defer file.Close() //nolint:errcheck // read
	if unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return 0, false
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(string(text))
	return pid, err == nil
}

// check refuses what the nodes could not see: they have folders of their own there.
func (p Paths) check() error {
	for _, own := range nodeFolders() {
		if strings.HasPrefix(p.Root+"/", own+"/") {
			return fmt.Errorf("%s is in %s, where each node of the cluster has a folder of its own: clone the repository elsewhere", p.Root, own)
		}
	}
	return nil
}

// lock takes the run folder, or says who has it.
func (p Paths) lock() (*os.File, error) {
	if err := os.MkdirAll(p.Kube, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(p.Run+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		owner, _ := os.ReadFile(p.Run + ".lock")
		_ = file.Close()
		return nil, fmt.Errorf("a cluster runs already, process %s; make cluster-down ends one of make cluster-up", owner)
	}
	if err := file.Truncate(0); err != nil {
		return nil, err
	}
	_, err = file.WriteString(strconv.Itoa(os.Getpid()))
	return file, err
}
