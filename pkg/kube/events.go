package kube

import (
	"context"
	"time"

	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
)

const (
	eventQueue = 64              // events that wait for their turn
	eventRate  = 0.2             // events in a second, in the long run
	eventBurst = 20              // events at once
	eventLimit = 2 * time.Minute // for finding the PersistentVolume and writing
)

// Events writes Warning events on PersistentVolumes. Warn never waits and never fails: an event is a courtesy, and the log has
// the same line.
type Events struct {
	client *Client
	queue  chan warning
	limit  flowcontrol.PassiveRateLimiter
	now    func() time.Time
}

type warning struct{ driver, handle, reason, message string }

// NewEvents makes Events. Run them.
func NewEvents(client *Client) *Events {
	return &Events{client, make(chan warning, eventQueue), flowcontrol.NewTokenBucketPassiveRateLimiter(eventRate, eventBurst), time.Now}
}

// Warn asks for an event on the PersistentVolume that has the driver's handle; too many are dropped.
func (e *Events) Warn(driver, handle, reason, message string) {
	if !e.limit.TryAccept() {
		return
	}
	select {
	case e.queue <- warning{driver, handle, reason, message}:
	default:
	}
}

// Run writes what Warn asked for, until ctx ends.
func (e *Events) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-e.queue:
			if err := e.write(ctx, w); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).Info("Event not written", "volume", w.handle, "reason", err.Error())
			}
		}
	}
}

func (e *Events) write(ctx context.Context, w warning) error {
	ctx, cancel := context.WithTimeout(ctx, eventLimit)
	defer cancel()
	pv, err := e.client.volumeOf(ctx, w.driver, w.handle)
	if err != nil {
		return err
	}
	ref := reference{"v1", "PersistentVolume", "", pv.Metadata.Name, pv.Metadata.UID, pv.Metadata.ResourceVersion}
	return e.client.warn(ctx, w.driver, ref, w.reason, w.message, e.now())
}

// event is Kubernetes' Event,
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ in its core/v1 form.
type event struct {
	object
	InvolvedObject      reference `json:"involvedObject"`
	Type                string    `json:"type"`
	Reason              string    `json:"reason"`
	Message             string    `json:"message"`
	Source              source    `json:"source"`
	ReportingController string    `json:"reportingComponent"`
	FirstTimestamp      time.Time `json:"firstTimestamp"`
	LastTimestamp       time.Time `json:"lastTimestamp"`
	Count               int       `json:"count"`
}

type reference struct {
	APIVersion      string `json:"apiVersion"`
	Kind            string `json:"kind"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name"`
	UID             string `json:"uid"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

type source struct {
	Component string `json:"component"`
}
