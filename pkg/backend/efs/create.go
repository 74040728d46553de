package efs

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opCreate = "create volume"

// Create makes the volume that the name stands for.
func (b *Backend) Create(ctx context.Context, req volume.CreateRequest) (volume.Volume, error) {
	o, err := b.order(req)
	if err != nil {
		return volume.Volume{}, err
	}
	if err := b.checkNetwork(ctx, o); err != nil {
		return volume.Volume{}, err
	}
	switch {
	case o.values[keyExisting] != "":
		return b.adopt(ctx, o)
	case o.mode == modeDirectory:
		return b.directory(ctx, o)
	case o.mode == modeAccessPoint:
		return b.accessPoint(ctx, o)
	}
	return b.fileSystem(ctx, o)
}

// fileSystem makes a file system of its own and begins to make the mount targets that
// were asked for. EFS remembers the creation token for as long as the file system lives.
func (b *Backend) fileSystem(ctx context.Context, o *order) (volume.Volume, error) {
	f, found, err := b.api.FileSystemByToken(ctx, o.spec.Token)
	if err != nil {
		return volume.Volume{}, fault.Wrap(opCreate, o.name, err)
	}
	if !found {
		f, err = b.api.CreateFileSystem(ctx, o.spec)
		if err != nil && (!fault.Is(err, fault.Conflict) || f.ID == "") {
			return volume.Volume{}, fault.Wrap(opCreate, o.name, explainKey(err, o.spec))
		}
	}
	if f, err = b.available(ctx, opCreate, f.ID); err != nil {
		return volume.Volume{}, err
	}
	if why := unfit(f, o); why != "" {
		return volume.Volume{}, fault.New(fault.Conflict, opCreate, o.name, "%s exists under this name, but %s", f.ID, why)
	}
	if err := b.ensureLifecycle(ctx, f.ID, o.lifecycle); err != nil {
		return volume.Volume{}, err
	}
	if err := b.beginTargets(ctx, f, o); err != nil {
		return volume.Volume{}, err
	}
	out := describe(f)
	out.Context = o.context()
	maps.Copy(out.Context, o.owner.Context())
	return out, nil
}

// available waits until a file system can be used.
func (b *Backend) available(ctx context.Context, op, id string) (efs.FileSystem, error) {
	var f efs.FileSystem
	err := b.waits.system.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, err := b.system(ctx, op, id)
		switch {
		case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Pending) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, err
		}
		f = now
		switch f.State {
		case efs.StateAvailable:
			return true, nil
		case efs.StateDeleting, efs.StateDeleted:
			return false, fault.New(fault.Pending, op, id, "the file system is being deleted; ask again when it is gone")
		case efs.StateError:
			return false, fault.New(fault.InUse, op, id, "EFS says that the file system is in state %q; the usual reason is a KMS key that cannot be used: mend the key, or delete the file system and ask again", f.State)
		}
		return false, nil
	})
	if err != nil && ctx.Err() != nil {
		return f, fault.New(fault.Pending, op, id, "EFS still says %q; ask again", f.State)
	}
	return f, err
}

// unfit says why an existing file system is not what was asked for, or "". What can
// be changed later is not compared.
func unfit(f efs.FileSystem, o *order) string {
	switch {
	case f.Tags[TagArchived] == "true":
		return "it was archived with its data when its volume was deleted; choose another name, or use it with " +
			keyExisting + " once its tags " + backend.TagCluster + " and " + backend.TagVolumeName + " are removed"
	case !o.size.Fits(bytesOf(f.Tags)):
		return fmt.Sprintf("its %d bytes do not satisfy required_bytes %d and limit_bytes %d", bytesOf(f.Tags), o.size.RequiredBytes, o.size.LimitBytes)
	case f.PerformanceMode != o.spec.PerformanceMode:
		return fmt.Sprintf("its performance mode is %s, not %s", f.PerformanceMode, o.spec.PerformanceMode)
	case f.Encrypted != o.spec.Encrypted:
		return fmt.Sprintf("encrypted is %t, not %t", f.Encrypted, o.spec.Encrypted)
	case o.spec.KMSKey != "" && !strings.Contains(o.spec.KMSKey, "alias/") && !strings.HasSuffix(f.KMSKey, o.spec.KMSKey):
		return fmt.Sprintf("its KMS key is %s, not %s", f.KMSKey, o.spec.KMSKey)
	case f.Zone != o.spec.Zone:
		return fmt.Sprintf("its One Zone is %q, not %q", f.Zone, o.spec.Zone)
	case f.Tags[TagOnDelete] != string(o.onDelete):
		return fmt.Sprintf("its %s is %q, not %q", keyOnDelete, f.Tags[TagOnDelete], o.onDelete)
	}
	return ""
}

// explainKey says what a refusal may have to do with the KMS key.
func explainKey(err error, spec efs.FileSystemSpec) error {
	if spec.KMSKey == "" || !fault.Is(err, fault.Denied) && !strings.Contains(err.Error(), "KMS") {
		return err
	}
	return fault.Explain(err, "if it is about KMS key "+spec.KMSKey+": it must exist in this region and be enabled, and the driver's role needs kms:DescribeKey, kms:CreateGrant and kms:GenerateDataKeyWithoutPlaintext on it")
}

// ensureLifecycle sets the lifecycle policies where none are set yet.
func (b *Backend) ensureLifecycle(ctx context.Context, id string, l efs.Lifecycle) error {
	if l == (efs.Lifecycle{}) {
		return nil
	}
	now, err := b.api.Lifecycle(ctx, id)
	if err == nil && now != l {
		err = b.api.PutLifecycle(ctx, id, l)
	}
	return fault.Wrap(opCreate, id, err)
}

// adopt answers a request with a file system or an access point that exists already.
// Its tags say that it is used by us and never ours to delete.
func (b *Backend) adopt(ctx context.Context, o *order) (volume.Volume, error) {
	const op = "adopt volume"
	h, err := volume.ParseHandle(o.values[keyExisting])
	if err != nil || h.Kind != volume.EFS || h.Path != "" {
		return volume.Volume{}, fault.New(fault.Invalid, op, o.values[keyExisting], "%s is not fs-… or fs-…::fsap-…; for a directory write a PersistentVolume by hand", keyExisting)
	}
	f, err := b.available(ctx, op, h.Root)
	if err != nil {
		return volume.Volume{}, err
	}
	id, tags := f.ID, f.Tags
	if h.AccessPoint != "" {
		a, err := b.point(ctx, op, h)
		if fault.Is(err, fault.NotFound) {
			err = fault.New(fault.Invalid, op, o.name, "parameter %s: %v", keyExisting, err)
		}
		if err != nil {
			return volume.Volume{}, err
		}
		id, tags = a.ID, a.Tags
	}
	ours := tags[backend.TagAdopted] == "external" && tags[backend.TagCluster] == b.opts.Owner.Cluster && tags[backend.TagVolumeName] == o.name
	switch verdict := b.opts.Owner.Judge(backend.TagVolumeName, tags, false); {
	case ours:
	case tags[backend.TagHolder] != "" && verdict.Keep+verdict.Refuse != "":
		return volume.Volume{}, fault.New(fault.InUse, op, id, "%s%s", verdict.Keep, verdict.Refuse)
	case tags[backend.TagCluster] != "" || tags[backend.TagVolumeName] != "":
		return volume.Volume{}, fault.New(fault.Conflict, op, id, "it is already used as %q in cluster %q", tags[backend.TagVolumeName], tags[backend.TagCluster])
	default:
		if err := b.api.Tag(ctx, id, map[string]string{
			backend.TagAdopted: "external", backend.TagCluster: b.opts.Owner.Cluster, backend.TagVolumeName: o.name, TagBytes: fmt.Sprint(o.bytes),
		}); err != nil {
			return volume.Volume{}, fault.Wrap(op, id, err)
		}
	}
	out := describe(f)
	out.Handle, out.Bytes, out.Context = h.String(), o.bytes, o.context()
	return out, nil
}
