package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// targetPath is where kubelet has a CSI volume for a pod: its UID and the PersistentVolume's name.
// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/volume/csi/csi_util.go
var targetPath = regexp.MustCompile(`/pods/([0-9A-Za-z-]+)/volumes/kubernetes\.io~csi/([0-9a-z.-]+)/mount$`)

// WarnUsers writes a Warning event on the Pod that has a volume at one of kubelet's target paths, and on its
// PersistentVolumeClaim. NotFound means that the path is none of kubelet's, or that the volume is not claimed.
func (c *Client) WarnUsers(ctx context.Context, driver, node, target, reason, message string) error {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	claim, p, err := c.userOf(ctx, node, target)
	if err != nil {
		return err
	}
	about := []reference{claim}
	if p != nil {
		about = append(about, reference{"v1", "Pod", claim.Namespace, p.Metadata.Name, p.Metadata.UID, ""})
	}
	for _, ref := range about {
		if err := c.warn(ctx, driver, ref, reason, message, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// WarnNode writes a Warning event on a Node, where `kubectl describe node` shows it: those of kubelet have its name for its UID.
func (c *Client) WarnNode(ctx context.Context, driver, node, reason, message string) error {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	return c.warn(ctx, driver, reference{"v1", "Node", "", node, node, ""}, reason, message, time.Now())
}

// userOf finds the claim and the pod of a target path; the pod is nil where it is gone from the node.
func (c *Client) userOf(ctx context.Context, node, target string) (reference, *pod, error) {
	parts := targetPath.FindStringSubmatch(target)
	if parts == nil {
		return reference{}, nil, fault.New(fault.NotFound, "find pod", target, "the path is no target of kubelet's")
	}
	var pv struct {
		Spec struct {
			ClaimRef struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
				UID       string `json:"uid"`
			} `json:"claimRef"`
		} `json:"spec"`
	}
	if err := read(ctx, c.core.Get().Resource("persistentvolumes").Name(parts[2]), &pv); err != nil {
		return reference{}, nil, problem("read PersistentVolume", parts[2], err)
	}
	claim := pv.Spec.ClaimRef
	if claim.Name == "" {
		return reference{}, nil, fault.New(fault.NotFound, "read PersistentVolume", parts[2], "no claim has it")
	}
	var pods struct {
		Items []*pod `json:"items"`
	}
	list := c.core.Get().Namespace(claim.Namespace).Resource("pods").Param("fieldSelector", "spec.nodeName="+node)
	if err := read(ctx, list, &pods); err != nil {
		return reference{}, nil, problem("list pods", claim.Namespace, err)
	}
	about := reference{"v1", "PersistentVolumeClaim", claim.Namespace, claim.Name, claim.UID, ""}
	for _, p := range pods.Items {
		if p.Metadata.UID == parts[1] {
			return about, p, nil
		}
	}
	return about, nil, nil
}

// warn writes a Warning event on an object. Events on what belongs to no namespace are in default.
func (c *Client) warn(ctx context.Context, driver string, ref reference, reason, message string, now time.Time) error {
	namespace := ref.Namespace
	if namespace == "" {
		namespace = "default"
	}
	body, err := json.Marshal(event{
		object:         object{metadata{Namespace: namespace, Name: fmt.Sprintf("%s.%x", ref.Name, now.UnixNano())}},
		InvolvedObject: ref, Type: "Warning", Reason: reason, Message: message,
		Source: source{driver}, ReportingController: driver,
		FirstTimestamp: now.UTC().Truncate(time.Second), LastTimestamp: now.UTC().Truncate(time.Second), Count: 1,
	})
	if err == nil {
		err = c.core.Post().Namespace(namespace).Resource("events").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	}
	return problem("write event on "+ref.Kind, ref.Name, err)
}
