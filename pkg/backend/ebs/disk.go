package ebs

import (
	"context"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Tags on disks of callers that keep handles themselves.
const (
	// TagUnconfirmed is on a disk or snapshot from its creation until the caller is answered: what still carries it later
	// belongs to nobody.
	TagUnconfirmed = "diskbridge.io/unconfirmed"
	// TagDiskName is the name that a caller gave a disk to be found by.
	TagDiskName = "diskbridge.io/disk-name"
	// tagRequest finds a snapshot again whose answer was lost.
	tagRequest = "diskbridge.io/request"
)

// HolderBosh begins the holder tag of BOSH's disks; a Director's UUID follows.
const HolderBosh = "bosh:"

// holderKubernetes begins the holder tag of Kubernetes' volumes; cluster/pv follow.
const holderKubernetes = "kubernetes:"

// DiskOptions shape Disks.
type DiskOptions struct {
	Director string // UUID of the Director that asks
	// AllowUnknown lets disks be attached of which nobody knows what they carry.
	AllowUnknown bool
}

// Disks is a Backend whose callers keep handles themselves: BOSH's Directors. For them the handle is the claim, and
// disks that other CPIs made are as good as ours.
type Disks struct {
	*Backend
	disk DiskOptions
}

var (
	_ backend.Backend         = (*Disks)(nil)
	_ backend.DiskKeeper      = (*Disks)(nil)
	_ backend.DiskAttacher    = (*Disks)(nil)
	_ backend.DiskSnapshotter = (*Disks)(nil)
)

// NewDisks makes Disks.
func NewDisks(api API, opts Options, disk DiskOptions) *Disks {
	return &Disks{Backend: New(patientAPI{api}, opts), disk: disk}
}

// DiskParameters declares what BOSH's cloud_properties may say about a disk.
func DiskParameters() backend.Parameters {
	known := []string{keyType, keyIOPS, keyIOPSPerGB, keyThroughput, keyEncrypted, keyKMSKey, keyZone}
	return slices.DeleteFunc(Parameters(), func(p backend.Parameter) bool { return !slices.Contains(known, p.Key) })
}

// holder is the holder tag of the disks that we make.
func (d *Disks) holder() string { return HolderBosh + d.disk.Director }

// HasDisk is false only where absence is proven. A disk that is being deleted is none.
func (d *Disks) HasDisk(ctx context.Context, handle string) (bool, error) {
	_, err := d.read(ctx, "look for disk", handle)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// read reads a disk that must exist; fault.NotFound only with proof, or where EC2 deletes it already.
func (d *Disks) read(ctx context.Context, op, handle string) (ec2.Volume, error) {
	id, err := diskID(op, handle)
	if err != nil {
		return ec2.Volume{}, err
	}
	v, err := d.volume(ctx, op, id)
	if err == nil && v.State == ec2.StateDeleting {
		err = fault.New(fault.NotFound, op, v.ID, "the disk is deleted already")
	}
	return v, err
}

// diskID checks that a handle is an EBS volume's. Other CPIs give their disks other names, with slashes, too: no such disk
// is here.
func diskID(op, handle string) (string, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil || h.Kind != volume.EBS && h.String() != handle {
		// Not the error's subject: an instance's id would make it a VM that is not found.
		return "", fault.New(fault.NotFound, op, "", "no EBS volume can have the id %.128q; one is vol- and 8 or 17 hexadecimal digits", handle)
	}
	return volumeID(op, handle)
}

const opDeleteDisk = "delete disk"

// DeleteDisk deletes a disk once its last attachment has ended. What Kubernetes holds stays, and is not found.
func (d *Disks) DeleteDisk(ctx context.Context, handle string) error {
	v, err := d.read(ctx, opDeleteDisk, handle)
	if err != nil {
		return err
	}
	if who := heldByKubernetes(v.Tags); who != "" {
		return fault.New(fault.NotFound, opDeleteDisk, v.ID, "the disk is %s, so it is kept; for BOSH it no longer exists", who)
	}
	if who := v.Tags[TagHolder]; who != "" && who != d.holder() {
		return fault.New(fault.InUse, opDeleteDisk, v.ID, "the disk is held by %s, and this Director is %s. If it is meant: diskbridge adopt %s --holder=%s",
			who, d.holder(), v.ID, d.holder())
	}
	for {
		if v, err = d.awaitFree(ctx, opDeleteDisk, v, ""); err != nil {
			return err
		}
		err = end(ctx, opDeleteDisk, d.aVolume(v.ID), d.api.DeleteVolume)
		if fault.CodeOf(err) != "VolumeInUse" || batch.Pause(ctx, time.Second) != nil {
			return err
		}
		if v, err = d.volume(ctx, opDeleteDisk, v.ID); err != nil {
			return err
		}
	}
}

// maxRelease is how long a running instance may keep a disk that somebody else wants: detaching ends by itself, and
// what is not being detached by then is in use.
const maxRelease = 15 * time.Second

// awaitFree waits until no instance but the given one holds the volume. An attachment that ends, or whose instance does,
// is waited for until ctx ends, one to a running instance for maxRelease. The error names the holder.
func (d *Disks) awaitFree(ctx context.Context, op string, v ec2.Volume, instance string) (ec2.Volume, error) {
	start, grace := time.Now(), maxRelease
	if deadline, ok := ctx.Deadline(); ok {
		grace = min(grace, time.Until(deadline)/4)
	}
	id, fresh := v.ID, false
	held := func() error {
		return fault.New(fault.InUse, op, id, "the disk is attached to instance %s, waited %s for its release; detach it there, or stop that instance",
			describeAttachments(v.Attachments), time.Since(start).Round(time.Second))
	}
	err := batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		if fresh {
			now, err := d.volume(ctx, op, id)
			if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Pending) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			v = now
		}
		fresh = true
		others := slices.DeleteFunc(slices.Clone(v.Attachments), func(a ec2.Attachment) bool { return a.Instance == instance })
		if len(others) == 0 {
			return true, nil
		}
		if time.Since(start) > grace && d.inUse(ctx, others[0]) {
			return false, held()
		}
		return false, nil
	})
	if err != nil && ctx.Err() != nil {
		return v, held()
	}
	return v, fault.Wrap(op, id, err)
}

// inUse reports whether an attachment will not end by itself.
func (d *Disks) inUse(ctx context.Context, a ec2.Attachment) bool {
	if a.State != ec2.Attached {
		return false
	}
	inst, found, err := d.api.Instance(ctx, a.Instance)
	return err == nil && found && (inst.State == "running" || inst.State == "pending" || inst.State == "stopped")
}

// NodeDisks lists BOSH's disks on an instance: not the system's volume, nor what is deleted with the instance, nor what
// Kubernetes holds.
func (d *Disks) NodeDisks(ctx context.Context, node string) ([]string, error) {
	inst, err := d.node(ctx, node)
	if err != nil {
		return nil, err
	}
	disks := []string{}
	for _, a := range inst.Attachments {
		if a.Device == inst.RootDevice || a.WithInstance {
			continue
		}
		v, err := d.volume(ctx, "list disks", a.Volume)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if err == nil && heldByKubernetes(v.Tags) == "" {
			disks = append(disks, v.ID)
		}
	}
	slices.Sort(disks)
	return disks, nil
}

// node reads an instance; an error that it does not exist is marked.
func (d *Disks) node(ctx context.Context, id string) (ec2.Instance, error) {
	inst, err := d.instance(ctx, id)
	return inst, markMissing(err)
}

func markMissing(err error) error {
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	return &missing{err}
}

// missing is an error that also is volume.ErrNoNode.
type missing struct{ error }

func (m *missing) Unwrap() []error { return []error{m.error, volume.ErrNoNode} }
