package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nodeVariable describes the node to the process that becomes it.
const nodeVariable = "DISKBRIDGE_E2E_NODE"

// Node is a machine of the cluster: a network, a view of the file system and processes of its own. Its disk is a folder
// and outlives its processes, as a machine's outlives a power cut.
type Node struct {
	Name   string // that of its EC2 instance
	Zone   string // empty on a machine that is in no cloud
	Number int
	Paths  Paths

	first *exec.Cmd
}

func (n *Node) ip() string   { return fmt.Sprintf("10.77.0.%d", 10+n.Number) }
func (n *Node) pods() string { return fmt.Sprintf("10.244.%d.0/24", n.Number) }

// Start boots the node; its kubelet registers it as soon as it can.
func (n *Node) Start(ctx context.Context) error {
	// As after a power cut: kubelet would look for three seconds at each container whose control group is still there.
	err := Until(ctx, "control groups of an earlier life", func(context.Context) error { return removeCgroups(n.cgroup()) })
	if err == nil {
		err = n.cgroups()
	}
	if err != nil {
		return err
	}
	what, err := json.Marshal(n)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.Paths.run("logs", n.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	n.first = self(ctx, stageNode)
	n.first.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	n.first.Env = append(n.Paths.environment(), stageVariable+"="+stageNode, nodeVariable+"="+string(what))
	n.first.Stdout, n.first.Stderr = log, log
	wired, err := n.first.StdinPipe()
	if err != nil {
		return err
	}
	if err := n.first.Start(); err != nil {
		return fmt.Errorf("%s: make namespaces: %w", n.Name, err)
	}
	port := "veth" + strconv.Itoa(n.Number)
	err = n.Paths.lines(ctx, "ip", fmt.Sprintf(`
		link add %s type veth peer name eth0 netns %d
		link set %s master br0 up
		route replace %s via %s`, port, n.first.Process.Pid, port, n.pods(), n.ip()))
	return errors.Join(err, wired.Close())
}

// Stop is the power cut: every process of the node, its mounts and its network end at once.
func (n *Node) Stop() error {
	if err := n.first.Process.Kill(); err != nil {
		return err
	}
	_ = n.first.Wait() // killed
	return nil
}

// Runs reports whether a process, by its number as this program sees it, is in the node's own network.
func (n *Node) Runs(pid string) bool {
	node, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", n.first.Process.Pid))
	if err != nil {
		return false
	}
	its, err := os.Readlink("/proc/" + pid + "/ns/net")
	return err == nil && its == node
}

// runNode is the first process of a node. It ends with kubelet.
func runNode() int {
	var n Node
	if err := json.Unmarshal([]byte(os.Getenv(nodeVariable)), &n); err != nil {
		return complain(err)
	}
	// The cable is plugged in when stdin ends.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return complain(err)
	}
	kubelet, err := n.boot(context.Background())
	if err != nil {
		return complain(fmt.Errorf("%s: %w", n.Name, err))
	}
	return bury(kubelet.Process.Pid)
}

func (n *Node) boot(ctx context.Context) (*exec.Cmd, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := n.mounts(); err != nil {
		return nil, err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, err
	}
	if err := n.Paths.lines(ctx, "ip", fmt.Sprintf(`
		link set lo up
		addr add %s/24 dev eth0
		link set eth0 up
		route add default via %s`, n.ip(), gateway)); err != nil {
		return nil, err
	}
	for path, text := range n.settings() {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return nil, err
		}
	}
	if _, err := n.Paths.daemon(ctx, n.Name+"-containerd", n.Paths.Kube+"/containerd", "--config=/var/lib/e2e/containerd.toml"); err != nil {
		return nil, err
	}
	ctr := func(ctx context.Context, args ...string) error {
		return n.Paths.command(ctx, n.Paths.Kube+"/ctr", args...)
	}
	if err := containerdReady(ctx, ctr); err != nil {
		return nil, err
	}
	return n.Paths.daemon(ctx, n.Name+"-kubelet", n.Paths.Kube+"/kubelet", append(n.labels(), "--config=/var/lib/e2e/kubelet.yaml",
		"--kubeconfig="+n.Paths.run("pki", n.Name+".kubeconfig"), "--hostname-override="+n.Name, "--node-ip="+n.ip())...)
}

// nodeFolders are what nodes have of their own; the first is emptied by a power cut.
func nodeFolders() []string { return []string{"/run", "/var/lib", "/var/log"} }

// mounts gives the node its own disk, behind the paths that Kubernetes' programs use.
func (n *Node) mounts() error {
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID, "mode=755"),
	); err != nil {
		return err
	}
	for _, dir := range nodeFolders()[1:] {
		own := n.Paths.run(n.Name, dir)
		if err := errors.Join(os.MkdirAll(own, 0o755), unix.Mount(own, dir, "", unix.MS_BIND, "")); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	// A node plugin's mounts reach kubelet, and kubelet's the pods.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// cgroup is the parent of everything that the node's kubelet makes, in every hierarchy.
func (n *Node) cgroup() string { return "/" + n.Paths.cgroup() + "/" + n.Name }

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the roots of all mounted control group hierarchies, of either version.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err == nil {
		return []string{cgroupRoot}, nil
	}
	return filepath.Glob(cgroupRoot + "/*")
}

func (n *Node) cgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := root
		for part := range strings.SplitSeq(strings.Trim(n.cgroup(), "/"), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if err := inherit(parent, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit gives a new control group what it does not get by itself: the processors of version 1, the controllers of version 2.
func inherit(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, os.ErrNotExist) || strings.TrimSpace(string(value)) == "" {
			continue
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, file), value, 0)); err != nil {
			return err
		}
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil // version 1
	}
	for c := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return err
		}
	}
	return nil
}
