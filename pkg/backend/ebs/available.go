package ebs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

var (
	errVanished = errors.New("the volume was created and vanished")
	errDeleted  = errors.New("the volume was deleted")
	errFailed   = errors.New("EC2 could not make the volume, or has lost it")
)

// available waits until a volume can be used.
func (b *Backend) available(ctx context.Context, op string, v ec2.Volume) (ec2.Volume, error) {
	if v.State == ec2.StateAvailable || v.State == ec2.StateInUse {
		return v, nil
	}
	asked, last := time.Now(), v
	err := b.waits.created.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, found, err := b.api.Volume(ctx, v.ID)
		switch {
		case fault.Is(err, fault.Unavailable):
			return false, nil
		case err != nil:
			return false, err
		case found:
			last = now
		case time.Since(asked) > b.api.AbsenceInterval():
			absent, err := b.api.VolumeAbsent(ctx, v.ID)
			if absent {
				return false, vanished(op, v)
			}
			return false, err
		}
		switch last.State {
		case ec2.StateError:
			f := fault.New(fault.Internal, op, v.ID, "it is in state %q", last.State)
			f.Err = errFailed
			return false, f
		case ec2.StateDeleting:
			return false, deleted(op, v)
		}
		return last.State == ec2.StateAvailable || last.State == ec2.StateInUse, nil
	})
	if err != nil && ctx.Err() != nil {
		return last, fault.New(fault.Pending, op, v.ID, "EC2 still says %q; retry", last.State)
	}
	return last, fault.Wrap(op, v.ID, err)
}

// vanished explains a volume that EC2 accepted and does not have any more. Where it is
// encrypted, EC2 takes it back if the KMS key cannot be used (no error is ever answered);
// otherwise it was deleted.
func vanished(op string, v ec2.Volume) error {
	if !v.Encrypted {
		return deleted(op, v)
	}
	f := fault.New(fault.Denied, "CreateVolume", v.ID, "EC2 accepted the volume and then took it back; the usual reason is that"+
		" KMS key %s cannot be used: enable it, and grant the driver's role"+
		" kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt* on it", v.KMSKey)
	f.Err = errVanished
	return f
}

func deleted(op string, v ec2.Volume) error {
	f := fault.New(fault.Pending, op, v.ID, "the volume was deleted meanwhile; retry")
	f.Err = errDeleted
	return f
}

// usable waits until a new volume of the name can be used. One whose creation EC2 ended in state "error" is deleted where it
// is ours and was never handed out or attached: no other component deletes it, and every retry would find it by its name. The error is errDeleted then, so that the caller tries the next token. A deletion that is refused leaves the
// outcome open: the claim must not go while the volume is there.
func (b *Backend) usable(ctx context.Context, name string, v ec2.Volume) (ec2.Volume, error) {
	v, err := b.available(ctx, opCreate, v)
	if !errors.Is(err, errFailed) || !b.unused(v, name) {
		return v, err
	}
	if refused := end(ctx, opCreate, b.aVolume(v.ID), b.api.DeleteVolume); refused != nil {
		f := fault.New(fault.UnknownOutcome, opCreate, v.ID, "it ended in state %q and could not be deleted; retry", ec2.StateError)
		f.Err = refused
		return v, f
	}
	b.tokens.deleted(v.ID, time.Now())
	f := fault.New(fault.UnknownOutcome, opCreate, v.ID, "it ended in state %q; retry", ec2.StateError)
	f.Err = fmt.Errorf("%w: %w", errFailed, errDeleted)
	return v, f
}

// unused reports whether we made the volume for the name, and it was never handed over and is not attached.
func (b *Backend) unused(v ec2.Volume, name string) bool {
	return b.judge(TagVolumeName, v.Tags).Delete && v.Tags[TagVolumeName] == name && v.Tags[TagHolder] == "" && len(v.Attachments) == 0
}

// open keeps the outcome open where a volume that EC2 has accepted cannot be read: after a final error the claim may go, and
// the volume would stay.
func open(id string, err error) error {
	if err == nil || errors.Is(err, errFailed) || fault.Is(err, fault.Pending) || fault.Is(err, fault.Unavailable) {
		return err
	}
	return &fault.Error{Op: opCreate, Subject: id, Kind: fault.UnknownOutcome, Message: "EC2 has accepted the volume, but what became of it cannot be read; retry", Err: err}
}
