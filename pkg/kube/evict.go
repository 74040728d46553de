package kube

import (
	"context"
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Evictions asks Kubernetes to evict the pods of a node that cannot see a volume again, so that their controllers make others.
// It goes through the Eviction API, which obeys PodDisruptionBudgets, and leaves alone pods that would not come back or that
// see the volume. It remembers what is refused only as long as it runs.
type Evictions struct {
	client       *Client
	driver, node string
	lost         chan loss
	first        time.Duration // between two tries: doubled up to longest
	longest      time.Duration
}

// loss is a volume at one of kubelet's target paths, and since when it is there again.
type loss struct {
	target string
	again  time.Time
}

// attempt is an eviction that is still to be done.
type attempt struct {
	loss
	next  time.Time
	delay time.Duration
	told  bool
}

// NewEvictions makes Evictions for the pods of a node. Run them.
func NewEvictions(client *Client, driver, node string) *Evictions {
	return &Evictions{client, driver, node, make(chan loss), 10 * time.Second, 5 * time.Minute}
}

// Ask has the pod evicted that has a volume at one of kubelet's target paths, if it has containers that ran before the volume
// was there again. It waits for Run to take it, or for ctx to end.
func (e *Evictions) Ask(ctx context.Context, target string, again time.Time) {
	select {
	case e.lost <- loss{target, again}:
	case <-ctx.Done():
	}
}

// Run evicts what Ask asked for, until ctx ends. What Kubernetes refuses is tried again, in growing intervals.
func (e *Evictions) Run(ctx context.Context) {
	waiting := map[string]*attempt{} // by target
	ticker := time.NewTicker(e.first)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-e.lost:
			if a := waiting[l.target]; a != nil { // lost once more; it waits for its turn
				a.loss = l
			} else {
				waiting[l.target] = &attempt{loss: l}
			}
		case <-ticker.C:
		}
		for target, a := range waiting {
			if time.Now().Before(a.next) {
				continue
			}
			if e.try(ctx, a) {
				delete(waiting, target)
				continue
			}
			a.delay = min(max(2*a.delay, e.first), e.longest)
			a.next = time.Now().Add(a.delay)
		}
	}
}

// try reports whether nothing is left to do.
func (e *Evictions) try(ctx context.Context, a *attempt) bool {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	log := klog.FromContext(ctx).WithValues("target", a.target)
	claim, p, err := e.client.userOf(ctx, e.node, a.target)
	switch {
	case fault.Is(err, fault.NotFound), err == nil && (p == nil || !p.blind(claim.Name, a.again)):
		return true
	case err == nil && !p.comesBack():
		log.Info("A pod without a controller is not evicted, since it would not come back: restart it", "namespace", claim.Namespace, "pod", p.Metadata.Name)
		return true
	case err == nil:
		if err = e.client.evict(ctx, claim.Namespace, p); err == nil {
			log.Info("A pod that cannot see its volume again was evicted", "namespace", claim.Namespace, "pod", p.Metadata.Name)
			return true
		}
	}
	if a.told || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil { // gone, or another by now: look again
		return false
	}
	a.told = true
	log.Info("A pod that cannot see its volume again is not evicted yet; it is tried again", "reason", err.Error())
	if p != nil {
		about := reference{"v1", "Pod", claim.Namespace, p.Metadata.Name, p.Metadata.UID, ""}
		if err := e.client.warn(ctx, e.driver, about, "EvictionRefused", "restart the pod; it was to be evicted, and is tried again: "+err.Error(), time.Now()); err != nil {
			log.Info("Event not written", "reason", err.Error())
		}
	}
	return false
}

// evict asks once: another pod that has the name meanwhile is not meant (fault.Conflict).
// https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
func (c *Client) evict(ctx context.Context, namespace string, p *pod) error {
	type fields map[string]any
	body, err := json.Marshal(fields{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata{Name: p.Metadata.Name, Namespace: namespace},
		"deleteOptions": fields{"preconditions": fields{"uid": p.Metadata.UID}},
	})
	if err == nil {
		err = c.core.Post().Namespace(namespace).Resource("pods").Name(p.Metadata.Name).SubResource("eviction").
			SetHeader("Content-Type", "application/json").MaxRetries(0).Body(body).Do(ctx).Error()
	}
	if apierrors.IsTooManyRequests(err) {
		return &fault.Error{Op: "evict pod", Subject: p.Metadata.Name, Kind: fault.Unavailable, Err: err, Message: "a PodDisruptionBudget, or the API server's load, does not allow it now"}
	}
	return problem("evict pod", p.Metadata.Name, err)
}
