package kube

import (
	"context"
	"regexp"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Node is what a Node object says of its machine; what it does not say is empty.
type Node struct {
	Instance, Zone, Region, Type string
}

// providerID is aws:///ZONE/INSTANCE, as AWS's cloud controller writes it; some kubelets write the instance alone:
// https://github.com/kubernetes/cloud-provider-aws/blob/v1.34.0/pkg/providers/v1/instances.go.
var providerID = regexp.MustCompile(`^(?:aws://[^/]*/([^/]*)/)?(i-[0-9a-z]{8,32})$`)

// Node reads the machine's identity from the Node object. fault.Pending means that nobody has told the Node its providerID yet.
func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	const op = "read node"
	var node struct {
		object
		Spec struct {
			ProviderID string `json:"providerID"`
		} `json:"spec"`
	}
	if err := read(ctx, c.core.Get().Resource("nodes").Name(name), &node); err != nil {
		return Node{}, problem(op, name, err)
	}
	if node.Spec.ProviderID == "" {
		return Node{}, fault.New(fault.Pending, op, name, "it has no providerID yet; the cloud controller or kubelet's --provider-id sets it")
	}
	parts := providerID.FindStringSubmatch(node.Spec.ProviderID)
	if parts == nil {
		return Node{}, fault.New(fault.Invalid, op, name, "its providerID %q names no EC2 instance; set --node-id, --zone and --region", node.Spec.ProviderID)
	}
	labels := node.Metadata.Labels // https://kubernetes.io/docs/reference/labels-annotations-taints/
	out := Node{
		Instance: parts[2], Zone: labels["topology.kubernetes.io/zone"],
		Region: labels["topology.kubernetes.io/region"], Type: labels["node.kubernetes.io/instance-type"],
	}
	if out.Zone == "" {
		out.Zone = parts[1]
	}
	return out, nil
}

// registered lists the drivers that kubelet shows on a node.
func (c *Client) registered(ctx context.Context, node string) (map[string]bool, error) {
	var csiNode struct {
		Spec struct {
			Drivers []struct {
				Name string `json:"name"`
			} `json:"drivers"`
		} `json:"spec"`
	}
	if err := read(ctx, c.core.Get().AbsPath("/apis/storage.k8s.io/v1/csinodes", node), &csiNode); err != nil {
		return nil, problem("read CSINode", node, err)
	}
	out := map[string]bool{}
	for _, d := range csiNode.Spec.Drivers {
		out[d.Name] = true
	}
	return out, nil
}
