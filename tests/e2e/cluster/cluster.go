package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Where things are inside the namespaces.
const (
	gateway  = "10.77.0.1" // the machine of the control plane and of AWS, and the nodes' router
	service  = "10.96.0.1" // what Kubernetes gives the service "kubernetes"; the API server itself answers there
	awsPort  = "4566"      // at gateway, for pods; at 127.0.0.1, for the emulator's own control calls
	services = "10.96.0.0/16"
)

// AWS is the emulator's endpoint as pods reach it, Control as this process reaches it.
const (
	AWS     = "http://" + gateway + ":" + awsPort
	Control = "http://127.0.0.1:" + awsPort
)

// Zones are the zones of the nodes, in order. EBS volumes stay in their zone, so that one zone has two nodes.
const Zones = "us-east-1a,us-east-1b,us-east-1a"

// Region is the region of the zones.
const Region = "us-east-1"

// startLimit bounds the start of the cluster; an idle machine needs a tenth of it.
const startLimit = 3 * time.Minute

// Cluster is a running Kubernetes.
type Cluster struct {
	Paths      Paths
	Kubeconfig string // of an administrator
	Config     *rest.Config
	Client     kubernetes.Interface
	Nodes      []*Node

	images []string
	at     addresses
	launch func(ctx context.Context, name, program string, args ...string) error // of a program that goes on until the cluster ends
}

// Start starts everything inside the namespaces that [Within] made, with every image of paths.Images on each node,
// and returns when all nodes are ready. Everything ends with the namespaces.
func Start(ctx context.Context, paths Paths) (*Cluster, error) {
	c := inNamespaces(paths)
	return c.start(ctx, c.startAWS)
}

// StartLaptop starts a cluster as a laptop has one: one node, of a name of its own, that is in no cloud.
func StartLaptop(ctx context.Context, paths Paths) (*Cluster, error) {
	c := inNamespaces(paths)
	return c.start(ctx, func(context.Context) error {
		c.Nodes = []*Node{{Name: "laptop", Number: 1, Paths: paths}}
		return nil
	})
}

func inNamespaces(paths Paths) *Cluster {
	c := &Cluster{Paths: paths, at: addresses{host: gateway, bind: "0.0.0.0", api: "443", etcd: "2379", peers: "2380", aws: awsPort}}
	c.launch = func(ctx context.Context, name, program string, args ...string) error {
		_, err := paths.daemon(ctx, name, program, args...)
		return err
	}
	return c
}

func (c *Cluster) start(ctx context.Context, machines func(context.Context) error) (*Cluster, error) {
	var err error
	if c.images, err = filepath.Glob(filepath.Join(c.Paths.Images(), "*.tar")); err != nil || len(c.images) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no images in %s: make e2e makes them first", c.Paths.Images()))
	}
	return c, c.take(ctx, []step{
		{"network", c.network},
		{"machines", machines},
		{"certificates", c.certificates},
		{"images", c.loadImages},
		{"nodes", c.startNodes},
		{"control plane", c.startControlPlane},
		{"nodes ready", c.nodesReady},
	})
}

// step is a part of the start.
type step struct {
	name string
	do   func(context.Context) error
}

func (c *Cluster) take(ctx context.Context, steps []step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("the cluster did not start in time"))
	defer cancel()
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w; logs are in %s", step.name, err, c.Paths.keepFor(time.Now()))
		}
	}
	return nil
}

func (c *Cluster) network(ctx context.Context) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	return c.Paths.lines(ctx, "ip", `
		link set lo up
		addr add `+service+`/32 dev lo
		link add br0 address 02:00:0a:4d:00:01 type bridge
		addr add `+gateway+`/24 dev br0
		link set br0 up`)
}

// startAWS starts the emulator; its instances are the nodes.
func (c *Cluster) startAWS(ctx context.Context) error {
	log, err := os.Create(c.Paths.run("logs/aws-emulator.log"))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	objects, err := c.Paths.tool("versitygw")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.Paths.Bin+"/aws-emulator", "--listen=0.0.0.0:"+awsPort, "--s3-server="+objects,
		"--state-dir="+c.Paths.run("aws"), "--devices=loop", "--profile=reference", "--instances=3", "--zones="+Zones)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var ready struct {
		Instances []struct {
			ID   string `json:"id"`
			Zone string `json:"zone"`
		} `json:"instances"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		return fmt.Errorf("first line: %w", err)
	}
	for n, i := range ready.Instances {
		c.Nodes = append(c.Nodes, &Node{Name: i.ID, Zone: i.Zone, Number: n + 1, Paths: c.Paths})
	}
	return nil
}

func (c *Cluster) certificates(context.Context) error {
	ca, err := newAuthority(c.Paths.run("pki"))
	if err != nil {
		return err
	}
	server := "https://" + c.at.host + ":" + c.at.api
	err = errors.Join(
		ca.server("apiserver", []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc"}, gateway, service, "127.0.0.1"),
		ca.client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
		ca.client("admin", "admin", "system:masters"),
		ca.client("controllers", "system:kube-controller-manager"),
		ca.client("scheduler", "system:kube-scheduler"),
	)
	for _, name := range []string{"admin", "controllers", "scheduler"} {
		err = errors.Join(err, ca.kubeconfig(name, server))
	}
	for _, n := range c.Nodes {
		err = errors.Join(err, ca.kubeconfig(n.Name, server), ca.client(n.Name, "system:node:"+n.Name, "system:nodes"))
	}
	c.Kubeconfig = c.Paths.run("pki/admin.kubeconfig")
	return err
}

func (c *Cluster) startNodes(ctx context.Context) error {
	var group errgroup.Group
	for _, n := range c.Nodes {
		group.Go(func() error { return n.Start(ctx) })
	}
	return group.Wait()
}

func (c *Cluster) nodesReady(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := Until(ctx, n.Name, func(ctx context.Context) error { return c.nodeReady(ctx, n.Name) }); err != nil {
			return err
		}
	}
	return Until(ctx, "default service account", func(ctx context.Context) error {
		_, err := c.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (c *Cluster) nodeReady(ctx context.Context, name string) error {
	node, err := c.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, cond := range node.Status.Conditions {
		if cond.Type == "Ready" && cond.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("node %s is not ready", name)
}

// Restart boots a node that was stopped, and waits until it is ready.
func (c *Cluster) Restart(ctx context.Context, n *Node) error {
	if err := n.Start(ctx); err != nil {
		return err
	}
	return Until(ctx, n.Name, func(ctx context.Context) error { return c.nodeReady(ctx, n.Name) })
}

// Dump writes what helps after a failure beside the logs, which are kept in a folder of their own, and says where.
func (c *Cluster) Dump(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for name, args := range map[string][]string{
		"objects.txt": {"get", "nodes,csinodes,pods,pvc,pv,volumeattachments,volumesnapshots,volumesnapshotcontents", "-A", "-o", "wide"},
		"pods.txt":    {"describe", "pods", "-A"},
		"claims.txt":  {"describe", "pvc,pv,volumesnapshots", "-A"},
		"events.txt":  {"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		text, err := c.Kubectl(ctx, "", args...)
		if err != nil {
			text += err.Error()
		}
		_ = os.WriteFile(c.Paths.run("logs", name), []byte(text), 0o644) // best effort
	}
	for _, name := range []string{"calls", "state", "faults"} {
		var answer json.RawMessage
		if err := c.Emulator(ctx, http.MethodGet, name, "", &answer); err == nil {
			_ = os.WriteFile(c.Paths.run("logs", "aws-"+name+".json"), answer, 0o644) // best effort
		}
	}
	fmt.Fprintf(os.Stderr, "logs, events and AWS's state of this run are in %s\n", c.Paths.keepFor(time.Now()))
}

// Kubectl runs kubectl as the administrator, with stdin where it is not empty, and returns what it printed.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Paths.Kube+"/kubectl", append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Helm runs the Helm of the project's tools as the administrator.
func (c *Cluster) Helm(ctx context.Context, args ...string) error {
	helm, err := c.Paths.tool("helm")
	if err != nil {
		return err
	}
	return c.Paths.command(ctx, helm, append(args, "--kubeconfig="+c.Kubeconfig)...)
}

// Emulator asks the emulator's control endpoint and decodes what it answers into out, unless that is nil.
func Emulator(ctx context.Context, method, path, body string, out any) error {
	return ask(ctx, Control, method, path, body, out)
}
