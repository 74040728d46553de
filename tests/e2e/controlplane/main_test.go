// Package controlplane asks what users see on claims, snapshots and attachments when AWS refuses, fails or answers late. It
// runs Kubernetes' real control plane and the real sidecars against the driver's controller, without any node; it knows the
// API of Kubernetes and what the emulated AWS has, nothing of the driver's insides.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

const (
	driver    = "ebs.csi.diskbridge.io"
	clusterID = "controlplane"
	zoneKey   = "topology.kubernetes.io/zone"
	startup   = time.Minute // bounds what an idle machine does in seconds
)

// here is the control plane that all tests share, and objects its client for snapshots; TestMain sets them.
var (
	here    *cluster.Alone
	objects dynamic.Interface
)

func TestMain(m *testing.M) {
	os.Exit(cluster.WithAlone(func(a *cluster.Alone) int {
		here = a
		sockets, err := os.MkdirTemp("", "db-") // a socket's path is at most 107 bytes
		if err == nil {
			defer os.RemoveAll(sockets) //nolint:errcheck // a temporary folder
			err = install(context.Background(), sockets)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "controlplane:", err)
			return 1
		}
		code := m.Run()
		state, err := readAWS(context.Background())
		if err != nil || len(state.Volumes)+len(state.Snapshots) > 0 {
			fmt.Fprintf(os.Stderr, "controlplane: left in AWS after all: %+v (%v)\n", state, err)
			code = 1
		}
		return code
	}))
}

// install makes the nodes' objects and classes, and starts the driver's controller with the chart's sidecars.
func install(ctx context.Context, sockets string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startup, errors.New("it did not start in time"))
	defer cancel()
	var err error
	if objects, err = dynamic.NewForConfig(here.Config); err != nil {
		return err
	}
	for _, i := range here.Instances {
		if err := makeNode(ctx, i); err != nil {
			return fmt.Errorf("node %s: %w", i.ID, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(here.Paths.Kube, "snapshots/snapshot.*.yaml"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("no CRDs of snapshots: tests/e2e/build makes them"))
	}
	for _, file := range files {
		if _, err := here.Kubectl(ctx, "", "apply", "--server-side", "-f", file); err != nil {
			return err
		}
	}
	if err := startDriver(sockets); err != nil {
		return err
	}
	return cluster.Until(ctx, "classes", func(ctx context.Context) error {
		_, err := here.Kubectl(ctx, classes, "apply", "-f", "-")
		return err
	})
}

const classes = `
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: now}, provisioner: ebs.csi.diskbridge.io, allowVolumeExpansion: true}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: later}, provisioner: ebs.csi.diskbridge.io, volumeBindingMode: WaitForFirstConsumer}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: plain}, driverName: ebs.csi.diskbridge.io, parameters: {iops: "3000"}}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: fast}, driverName: ebs.csi.diskbridge.io, parameters: {iops: "4000"}}
---
{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: snap}, driver: ebs.csi.diskbridge.io, deletionPolicy: Delete}
`

// makeNode makes the objects that a kubelet with the node plugin makes of an instance.
func makeNode(ctx context.Context, i cluster.Instance) error {
	labels := map[string]string{zoneKey: i.Zone, "topology.kubernetes.io/region": cluster.Region, "kubernetes.io/hostname": i.ID}
	nodes := here.Client.CoreV1().Nodes()
	node, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: i.ID, Labels: labels, Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
	}, Spec: corev1.NodeSpec{ProviderID: "aws:///" + i.Zone + "/" + i.ID}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	node.Spec.Taints = nil // of one that is not ready
	if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		return err
	}
	node.Status.Capacity = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi")}
	node.Status.Allocatable = node.Status.Capacity
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Test"}}
	if _, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return err
	}
	_, err = here.Client.StorageV1().CSINodes().Create(ctx, &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: i.ID},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: i.ID, TopologyKeys: []string{zoneKey}}}},
	}, metav1.CreateOptions{})
	return err
}

// startDriver starts the controller, the snapshot controller, and the sidecars as the chart starts them.
func startDriver(sockets string) error {
	containers, err := sidecars()
	if err != nil {
		return err
	}
	err = errors.Join(
		here.Keep("driver", here.Paths.Bin+"/diskbridge-csi", awsEnvironment(), "controller", "--backends=ebs", "--cluster-id="+clusterID,
			"--socket-dir="+sockets, "--absence-interval=100ms"),
		here.Keep("snapshot-controller", here.Paths.Kube+"/snapshot-controller", nil, "--kubeconfig="+here.Kubeconfig))
	for _, c := range containers {
		image, _, _ := strings.Cut(filepath.Base(c.Image), ":")
		args := []string{"--kubeconfig=" + here.Kubeconfig, "--csi-address=" + filepath.Join(sockets, driver, "csi.sock")}
		for _, arg := range c.Args {
			if name, _, _ := strings.Cut(arg, "="); !slices.Contains([]string{"--csi-address", "--leader-election", "--http-endpoint"}, name) {
				args = append(args, arg)
			}
		}
		err = errors.Join(err, here.Keep(image, filepath.Join(here.Paths.Kube, image), nil, args...))
	}
	return err
}

// sidecars are the containers beside the driver in the chart's Deployment.
func sidecars() ([]corev1.Container, error) {
	file, err := os.Open(filepath.Join(here.Paths.Root, "deploy/kubernetes/diskbridge.yaml"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	documents := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		var d appsv1.Deployment
		if err := documents.Decode(&d); errors.Is(err, io.EOF) {
			return nil, errors.New("the chart has no Deployment")
		} else if err != nil || d.Kind != "Deployment" {
			continue // of another kind
		}
		all := slices.DeleteFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Name == "driver" })
		if len(all) != 4 {
			return nil, fmt.Errorf("the chart has %d sidecars, want 4", len(all))
		}
		return all, nil
	}
}
