package janitor

import (
	"context"
	"errors"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Queue is what was asked for; the EFS backend is one. Every method is idempotent.
type Queue interface {
	// Removals lists what is to be removed.
	Removals(ctx context.Context) ([]volume.Removal, error)
	// Removed takes one off the list.
	Removed(ctx context.Context, r volume.Removal) error
	// Publish makes a file system reachable from a node and answers with the publish context.
	Publish(ctx context.Context, req volume.PublishRequest) (map[string]string, error)
}

// Remover removes a directory through a mount of its file system's root on point, an
// existing directory. It may be cut short anywhere and called again; nil means that
// the directory is gone, or never was.
type Remover interface {
	RemoveDirectory(ctx context.Context, plan volume.NFSPlan, r volume.Removal, point string) (files int, err error)
}

// Janitor works through a Queue. Several may run at once: they only do the same twice.
type Janitor struct {
	Queue    Queue
	Remover  Remover
	Node     string        // EC2 instance id of this machine, whose zone's mount target is used
	Point    string        // where to mount
	TLS      bool          // through a tunnel
	Interval time.Duration // between two looks at the queue
	Patience time.Duration // for one directory in one round; a larger one is gone on with in the next
}

// Run works until ctx ends. What fails is logged and tried again in the next round.
func (j *Janitor) Run(ctx context.Context) error {
	for {
		if _, err := j.Round(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Cannot see what is to be removed")
		}
		timer := time.NewTimer(j.Interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Round removes what is on the list now, one after the other, and returns how many are
// left: a directory that cannot be removed does not keep others. Its error is that the list
// could not be read, or the end of ctx.
func (j *Janitor) Round(ctx context.Context) (left int, err error) {
	log := klog.FromContext(ctx)
	list, err := j.Queue.Removals(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range list {
		if ctx.Err() != nil {
			return left + 1, ctx.Err()
		}
		start := time.Now()
		files, err := j.remove(ctx, r)
		switch {
		case err == nil:
			log.Info("Directory was removed", "fileSystem", r.FileSystem, "path", r.Path, "how", r.OnDelete, "files", files, "took", time.Since(start))
			continue
		case fault.Is(err, fault.Pending):
			log.Info("Directory is being removed", "fileSystem", r.FileSystem, "path", r.Path, "files", files, "reason", err.Error())
		default:
			log.Error(err, "Directory was not removed", "fileSystem", r.FileSystem, "path", r.Path, "files", files)
		}
		left++
	}
	return left, nil
}

func (j *Janitor) remove(ctx context.Context, r volume.Removal) (files int, err error) {
	ctx, cancel := context.WithTimeout(ctx, j.Patience)
	defer cancel()
	capability := volume.Capability{Mode: volume.MultiNodeMultiWriter}
	published, err := j.Queue.Publish(ctx, volume.PublishRequest{Handle: r.FileSystem, Node: j.Node, Capability: capability})
	if err != nil {
		return 0, err
	}
	request := volume.PlanRequest{Handle: r.FileSystem, Publish: published, Capability: capability}
	if j.TLS {
		request.Context = map[string]string{volume.ContextTLS: "true"}
	}
	plan, err := volume.NewNFSPlan(request)
	if err != nil {
		return 0, fault.New(fault.Internal, "remove directory", r.FileSystem, "%v", err)
	}
	files, err = j.Remover.RemoveDirectory(ctx, plan, r, j.Point)
	if errors.Is(err, syscall.EBUSY) { // only this machine's own processes can keep a file of NFS from being removed
		err = fault.Explain(err, "this node is "+j.Node)
	}
	if err != nil {
		return files, err
	}
	return files, j.Queue.Removed(ctx, r)
}
