package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// StartupTaint is the key of the taint that keeps pods off a new node until the driver is ready there. Node groups set it, with
// any effect, as they do for the EBS CSI driver
// (https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/install.md, "node startup taint").
func StartupTaint(driver string) string { return driver + "/agent-not-ready" }

// Welcome takes the startup taints of this node's drivers away.
type Welcome struct {
	Client  *Client
	Node    string
	Drivers []string
	// Registered reports whether kubelet has registered this process's driver; a CSINode may tell of an earlier one. nil: the
	// CSINode decides alone.
	Registered func(driver string) bool

	First, Longest time.Duration // between two tries: 1 s, doubled up to 1 min
	GiveUp         time.Duration // 30 min; until a process starts anew
}

// Run waits until kubelet shows each driver in the CSINode, which it does only once the driver is ready, removes its taint, and
// ends. What Kubernetes refuses is tried again and is never an error of the process: pods that are there go on.
func (w Welcome) Run(ctx context.Context) {
	if w.First <= 0 {
		w.First, w.Longest, w.GiveUp = time.Second, time.Minute, 30*time.Minute
	}
	waiting, end, told := slices.Clone(w.Drivers), time.Now().Add(w.GiveUp), ""
	for delay := w.First; len(waiting) > 0; delay = min(2*delay, w.Longest) {
		var err error
		if waiting, err = w.try(ctx, waiting); err != nil && err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			klog.FromContext(ctx).Info("Startup taint: trying again", "node", w.Node, "reason", told)
		}
		switch {
		case len(waiting) == 0:
			return
		case time.Now().After(end):
			klog.FromContext(ctx).Error(err, "A startup taint may be left: remove it by hand, or restart this pod", "node", w.Node, "drivers", waiting)
			return
		case !pause(ctx, delay):
			return
		}
	}
}

// try returns the drivers that are still to be done.
func (w Welcome) try(ctx context.Context, waiting []string) ([]string, error) {
	ready, err := w.Client.registered(ctx, w.Node)
	if err != nil && !fault.Is(err, fault.NotFound) { // kubelet makes the CSINode
		return waiting, err
	}
	var left []string
	for _, driver := range waiting {
		if !ready[driver] || w.Registered != nil && !w.Registered(driver) {
			left = append(left, driver)
			continue
		}
		removed, failed := w.Client.removeTaint(ctx, w.Node, StartupTaint(driver))
		switch {
		case failed != nil:
			left, err = append(left, driver), failed
		case removed:
			klog.FromContext(ctx).Info("Startup taint removed", "node", w.Node, "taint", StartupTaint(driver))
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	return left, err
}

// patchStep is one operation of a JSON patch, https://www.rfc-editor.org/rfc/rfc6902.
type patchStep struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

// removeTaint removes the taints with a key, whatever their effect, and no other: each removal is preceded by a test that the
// place still holds what was read, so that another's change in between makes the server refuse the patch (fault.Conflict).
func (c *Client) removeTaint(ctx context.Context, node, key string) (removed bool, err error) {
	var tainted struct {
		Spec struct {
			Taints []json.RawMessage `json:"taints"` // as they are, with fields that are yet to be invented
		} `json:"spec"`
	}
	if err := read(ctx, c.core.Get().Resource("nodes").Name(node), &tainted); err != nil {
		return false, problem("read node", node, err)
	}
	var patch []patchStep
	for i, raw := range slices.Backward(tainted.Spec.Taints) { // so that a removal does not move the next one
		var taint struct {
			Key string `json:"key"`
		}
		if err := json.Unmarshal(raw, &taint); err != nil {
			return false, problem("read node", node, err)
		}
		if taint.Key == key {
			path := fmt.Sprintf("/spec/taints/%d", i)
			patch = append(patch, patchStep{"test", path, raw}, patchStep{"remove", path, nil})
		}
	}
	if len(patch) == 0 {
		return false, nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return false, problem("remove taint", node, err)
	}
	err = c.core.Patch(types.JSONPatchType).Resource("nodes").Name(node).Body(body).Do(ctx).Error()
	return err == nil, problem("remove taint "+key+" from node", node, err)
}
