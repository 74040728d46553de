package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

const (
	eventQueue = 64              // events that wait for their turn
	eventRate  = 0.2             // events in a second, in the long run
	eventBurst = 20              // events at once
	pageSize   = 500             // PersistentVolumes read at once
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
	now := metav1.NewTime(e.now())
	event := &corev1.Event{
		// Events on what belongs to no namespace are in default.
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", pv.Name, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolume", Name: pv.Name, UID: pv.UID, ResourceVersion: pv.ResourceVersion},
		Type:           corev1.EventTypeWarning, Reason: w.reason, Message: w.message,
		Source: corev1.EventSource{Component: w.driver}, ReportingController: w.driver,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	err = e.client.core.Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
	return problem("write event on PersistentVolume", pv.Name, err)
}

// volumeOf looks for the PersistentVolume of a handle. The API server cannot search by handle, so all are read, page by page.
func (c *Client) volumeOf(ctx context.Context, driver, handle string) (*corev1.PersistentVolume, error) {
	for next := ""; ; {
		var page corev1.PersistentVolumeList
		list := c.core.Get().Resource("persistentvolumes").Param("limit", fmt.Sprint(pageSize)).Param("continue", next)
		if err := list.Do(ctx).Into(&page); err != nil {
			return nil, problem("list PersistentVolumes", "", err)
		}
		i := slices.IndexFunc(page.Items, func(pv corev1.PersistentVolume) bool {
			return pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver && pv.Spec.CSI.VolumeHandle == handle
		})
		if i >= 0 {
			return &page.Items[i], nil
		}
		if next = page.Continue; next == "" {
			return nil, fault.New(fault.NotFound, "find PersistentVolume", handle, "no PersistentVolume has this volume")
		}
	}
}
