package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/mounter"
	"github.com/diskbridge/diskbridge/pkg/volume"
	"github.com/diskbridge/diskbridge/tests/lane"
)

const (
	cgroups = "/sys/fs/cgroup"
	// server is where the S3 server listens, and data where it keeps its buckets.
	server, data = "127.0.0.1:7070", "/run/s3"
	accessKey    = "root-key"
	secretKey    = "root-secret"
	// mountMemory is what each mount may have, in MiB.
	mountMemory = 96
)

// startServer starts an S3 server with two buckets.
func startServer(ctx context.Context) (stop func() error, err error) {
	for _, dir := range []string{data + "/objects/bucket-a", data + "/objects/bucket-b", data + "/attributes"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("/bin/versitygw", "--port", server, "--region", "us-east-1", "--quiet", "posix", "--sidecar", data+"/attributes", data+"/objects") //nolint:noctx // stop ends it
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey, "HOME=/run", "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error { _ = cmd.Process.Kill(); _ = cmd.Wait(); return nil }
	return stop, lane.Eventually(ctx, "the S3 server", func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// world is one mounter, and what it has mounted.
type world struct {
	dir     string
	mounter *exec.Cmd
	client  *mounter.Client
	groups  []string // that were made for it
	staged  []string // buckets
	helpers []*exec.Cmd
}

// The arguments with which this program becomes a container's first process, and a process that does nothing.
const (
	containerCommand = "become-container"
	waitCommand      = "wait"
)

// How a container sees control groups.
const (
	hostView     = "host"      // as containerd has privileged containers
	ownNamespace = "namespace" // as with cgroupns=private
	readOnlyView = "read-only" // as for containers without privileges
)

// becomeContainer mounts what a container has of its own, and is the program then.
func becomeContainer(how string, command []string) error {
	runtime.LockOSThread() // exec ends all other threads
	if how == ownNamespace {
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return err
		}
	}
	flags := uintptr(0)
	if how == readOnlyView {
		flags = unix.MS_RDONLY
	}
	err := errors.Join(
		unix.Mount("", "/proc", "", unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Mount("", "/sys", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Unmount(cgroups, unix.MNT_DETACH), unix.Mount("cgroup2", cgroups, "cgroup2", 0, ""))
	if err == nil && flags != 0 {
		err = unix.Mount("", cgroups, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	if err != nil {
		return err
	}
	return syscall.Exec(command[0], command, os.Environ())
}

// group makes a control group whose memory is divided down to it.
func (w *world) group(path string) (string, error) {
	at := cgroups
	for part := range strings.SplitSeq(path, "/") {
		if at != cgroups {
			if err := write(at+"/cgroup.subtree_control", "+memory"); err != nil {
				return "", err
			}
		}
		at += "/" + part
		if err := os.MkdirAll(at, 0o755); err != nil {
			return "", err
		}
	}
	w.groups = append(w.groups, at)
	return at, nil
}

// into starts a command in a control group.
func into(cmd *exec.Cmd, group string, flags uintptr) error {
	dir, err := os.Open(group)
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: flags}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return errors.Join(cmd.Start(), dir.Close())
}

// command is how a mounter is started.
func (w *world) command() ([]string, error) {
	profiles := w.dir + "/profiles.yaml"
	err := os.MkdirAll(w.dir, 0o700)
	if err == nil {
		err = os.WriteFile(profiles, []byte("profiles:\n  own:\n    endpoint: http://"+server+"\n    region: us-east-1\n"), 0o600)
	}
	return []string{"/bin/diskbridge-csi", "mounter", "--socket=" + w.dir + "/m.sock", "--state-dir=" + w.dir + "/tunnels", "--objects-dir=" + w.dir + "/objects",
		"--cache-dir=" + w.dir + "/cache", "--cache-keep-free=1", fmt.Sprintf("--mount-memory=%d", mountMemory), "--s3-profiles=" + profiles,
		"--object-program-path=/usr/sbin/s3fs", "--region=us-east-1"}, err
}

// contain starts a mounter as the only program of a container with that group.
func (w *world) contain(ctx context.Context, how, group string) error {
	args, err := w.command()
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", append([]string{containerCommand, how}, args...)...) //nolint:noctx // cleanUp ends it
	if err := into(cmd, group, unix.CLONE_NEWPID|unix.CLONE_NEWNS); err != nil {
		return err
	}
	return w.begun(ctx, cmd)
}

// serve starts a mounter in a group of the host, as systemd does.
func (w *world) serve(ctx context.Context, group string) error {
	args, err := w.command()
	if err != nil {
		return err
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // cleanUp ends it
	if err := into(cmd, group, 0); err != nil {
		return err
	}
	return w.begun(ctx, cmd)
}

func (w *world) begun(ctx context.Context, cmd *exec.Cmd) error {
	w.mounter, w.client = cmd, mounter.NewClient(w.dir+"/m.sock")
	return lane.Eventually(ctx, "the mounter", func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", w.dir+"/m.sock")
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// reports are what a node plugin is told by the mounter.
type reports struct {
	lost      chan mounter.Loss
	unbounded chan string
}

// watch asks as the node plugin does, until ctx ends.
func (w *world) watch(ctx context.Context) reports {
	r := reports{make(chan mounter.Loss, 16), make(chan string, 16)}
	go w.client.WatchLosses(ctx, mounter.Watcher{Lost: func(l mounter.Loss) { r.lost <- l }, Unbounded: func(reason string) { r.unbounded <- reason }})
	return r
}

func (w *world) staging(bucket string) string { return w.dir + "/" + bucket }

// stage mounts a bucket.
func (w *world) stage(ctx context.Context, bucket string) error {
	if err := os.MkdirAll(w.staging(bucket), 0o755); err != nil {
		return err
	}
	plan, err := volume.NewObjectPlan(volume.PlanRequest{Handle: "s3://own@" + bucket, Capability: volume.Capability{Mode: volume.MultiNodeMultiWriter}})
	if err != nil {
		return err
	}
	w.staged = append(w.staged, bucket)
	return w.client.Objects().StageWith(ctx, plan, w.staging(bucket), map[string]string{"accessKeyID": accessKey, "secretAccessKey": secretKey})
}

func (w *world) unstage(ctx context.Context, bucket string) error {
	w.staged = slices.DeleteFunc(w.staged, func(b string) bool { return b == bucket })
	return w.client.Objects().Unstage(ctx, "s3://own@"+bucket, w.staging(bucket))
}

// program is the process that mounts a bucket, as the host sees it.
func (w *world) program(bucket string) (pid int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may just have ended
		if args := strings.Split(string(text), "\x00"); strings.HasSuffix(args[0], "/s3fs") && slices.Contains(args, w.staging(bucket)) {
			return strconv.Atoi(strings.Split(file, "/")[2])
		}
	}
	return 0, errors.Join(err, fmt.Errorf("nothing mounts %s", bucket))
}

// cleanUp ends what is left, and removes the groups.
func (w *world) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	var errs []error
	for _, bucket := range slices.Clone(w.staged) {
		errs = append(errs, w.unstage(ctx, bucket))
	}
	for _, cmd := range append(w.helpers, w.mounter) {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
	}
	_ = unix.Unmount(w.dir+"/objects", unix.MNT_DETACH) // where the mounter had mounted it
	for _, group := range w.groups {
		errs = append(errs, lane.Eventually(ctx, group+" is free", func() error { return remove(group) }))
	}
	return errors.Join(errs...)
}

// remove removes a group with those below it.
func remove(group string) error {
	below, err := filepath.Glob(group + "/*/cgroup.procs")
	for _, file := range below {
		err = errors.Join(err, remove(filepath.Dir(file)))
	}
	return errors.Join(err, os.Remove(group))
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }
