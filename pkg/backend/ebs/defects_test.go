package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const missing = "vol-00000000000000000"

// publish attaches a volume to an instance of the cloud.
func publish(t *testing.T, b publisher, handle, node string) (map[string]string, error) {
	t.Helper()
	return b.Publish(t.Context(), volume.PublishRequest{Handle: handle, Node: node, Capability: writer})
}

type publisher interface {
	Publish(ctx context.Context, req volume.PublishRequest) (map[string]string, error)
}

// TestDefect_OneBadIDPoisonsABatch: in the EBS CSI driver twenty detaches of which
// one names a missing instance all fail.
func TestDefect_OneBadIDPoisonsABatch(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	const n = 20
	handles := make([]string, n)
	for i := range handles {
		handles[i] = mustCreate(t, b, fmt.Sprint("v", i)).Handle
		if _, err := publish(t, b, handles[i], c.node(0)); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i, h := range handles {
		wg.Go(func() {
			if err := b.Unpublish(t.Context(), h, c.node(0)); err != nil {
				t.Errorf("detach %d failed beside a bad id: %v", i, err)
			}
		})
		wg.Go(func() {
			if err := b.Unpublish(t.Context(), h, "i-00000000000000000"); err != nil {
				t.Errorf("unpublish from a missing instance: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := b.Get(t.Context(), missing); !fault.Is(err, fault.NotFound) {
				t.Errorf("get of a missing volume: %v", err)
			}
		})
	}
	wg.Wait()
	for _, v := range c.State().Volumes {
		if len(v.Attachments) > 0 {
			t.Errorf("%s is still attached", v.ID)
		}
	}
}

// TestDefect_ABadIDCacheTurnsA403IntoSuccess: once the EBS CSI driver has an id in
// its cache of bad ids, any later error reads as "gone", and Unpublish answers OK.
func TestDefect_ABadIDCacheTurnsA403IntoSuccess(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	for range 3 { // whatever may remember the id has seen it as bad
		if err := b.Unpublish(t.Context(), missing, c.node(0)); err != nil {
			t.Fatal(err)
		}
	}
	c.fault(emulator.Fault{Operation: "DescribeVolumes", Effect: "refuse", Code: "UnauthorizedOperation"})
	if err := b.Unpublish(t.Context(), missing, c.node(0)); !fault.Is(err, fault.Denied) {
		t.Errorf("Unpublish without permission = %v, want denied", err)
	}
	if _, err := b.Delete(t.Context(), missing); !fault.Is(err, fault.Denied) {
		t.Errorf("Delete without permission = %v, want denied", err)
	}
}

// TestDefect_AContextOfThePeerCrashesTheController: the EBS CSI driver dereferences
// nil where a volume context asks it to block until the volume is initialised.
func TestDefect_AContextOfThePeerCrashesTheController(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "v")
	_, err := b.Publish(t.Context(), volume.PublishRequest{
		Handle: v.Handle, Node: c.node(0), Capability: writer, Context: map[string]string{"blockattachuntilinitialized": "true"},
	})
	if err != nil {
		t.Errorf("Publish = %v", err)
	}
}

// TestDefect_UnpublishAnswersWhileEC2StillDetaches: in the EBS CSI driver somebody
// else's missing id ends the wait for a detachment.
func TestDefect_UnpublishAnswersWhileEC2StillDetaches(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreate(t, b, "v")
	if _, err := publish(t, b, v.Handle, c.node(0)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var noise sync.WaitGroup
	for i := range 4 {
		noise.Go(func() {
			for ctx.Err() == nil {
				_, _ = b.Get(ctx, fmt.Sprintf("vol-0000000000000000%d", i)) // only noise
			}
		})
	}
	err := b.Unpublish(t.Context(), v.Handle, c.node(0))
	for _, now := range c.State().Volumes {
		if len(now.Attachments) > 0 {
			t.Errorf("Unpublish = %v while EC2 says %+v", err, now.Attachments)
		}
	}
	if err != nil {
		t.Errorf("Unpublish = %v", err)
	}
	stop()
	noise.Wait()
}

// TestDefect_UnpublishAtTheDeadlineIsNotASuccess: a detachment that lasts longer
// than the call ends in "ask again" with EC2's own state.
func TestDefect_UnpublishAtTheDeadlineIsNotASuccess(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreate(t, b, "v")
	if _, err := publish(t, b, v.Handle, c.node(0)); err != nil {
		t.Fatal(err)
	}
	c.speed(0) // EC2 makes no progress
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	err := b.Unpublish(ctx, v.Handle, c.node(0))
	if !fault.Is(err, fault.Pending) || !strings.Contains(err.Error(), "detaching") {
		t.Errorf("Unpublish = %v (%v)", err, fault.KindOf(err))
	}
	c.speed(20)
	if err := b.Unpublish(t.Context(), v.Handle, c.node(0)); err != nil {
		t.Errorf("asked again: %v", err)
	}
}

// TestAbsence_IsNeverTakenForProofUnderEventualConsistency: EC2 does not show a
// fresh volume at first, and nobody may conclude anything from that.
func TestAbsence_IsNeverTakenForProofUnderEventualConsistency(t *testing.T) {
	t.Parallel()
	c := lagging(t, 7)
	// A second process made it; this one never saw it.
	id := c.foreign(map[string]string{"diskbridge.io/cluster": cluster, "CSIVolumeName": "v"})
	b := c.backend()
	if _, err := b.Delete(t.Context(), id); err != nil {
		t.Errorf("Delete = %v", err)
	}
	if left := c.ours(); len(left) > 0 {
		t.Errorf("Delete answered OK and left %v", left)
	}
}

// TestAbsence_AFreshVolumeIsNeverReportedMissing asks about volumes right after they
// were made, while EC2 may still deny them.
func TestAbsence_AFreshVolumeIsNeverReportedMissing(t *testing.T) {
	t.Parallel()
	c := lagging(t, 11)
	b := c.backend()
	var wg sync.WaitGroup
	for range 8 {
		id := c.foreign(nil)
		wg.Go(func() {
			if _, err := b.Get(t.Context(), id); err != nil {
				t.Errorf("Get(%s) = %v", id, err)
			}
		})
		wg.Go(func() {
			out, err := publish(t, b, id, c.node(0))
			if err != nil {
				t.Errorf("Publish(%s) = %v, %v", id, out, err)
			}
		})
	}
	wg.Wait()
}

// TestErrors_EveryCodeOfEC2HasItsOutcome refuses calls with each code that EC2 is
// known to answer, and with unknown ones.
func TestErrors_EveryCodeOfEC2HasItsOutcome(t *testing.T) {
	t.Parallel()
	c := instant(t)
	attached, client := c.foreign(nil), c.client()
	for op, codes := range map[string]map[string]fault.Kind{
		"CreateVolume": {
			"IdempotentParameterMismatch": fault.Conflict, "InvalidSnapshot.NotFound": fault.NotFound, "InvalidVolume.NotFound": fault.NotFound,
			"InvalidParameterCombination": fault.Invalid, "InvalidParameterValue": fault.Invalid, "UnknownVolumeType": fault.Invalid,
			"InvalidZone.NotFound": fault.Invalid, "UnauthorizedOperation": fault.Denied, "VolumeLimitExceeded": fault.Limit,
			"MaxIOPSLimitExceeded": fault.Limit, "InsufficientVolumeCapacity": fault.Limit, "RequestLimitExceeded": fault.Unavailable,
			"InternalError": fault.UnknownOutcome, "Unavailable": fault.UnknownOutcome, "TagLimitExceeded": fault.Invalid, "TagPolicyViolation": fault.Invalid,
			"CustomerKeyHasBeenRevoked": fault.Denied, "InvalidKmsKey.InvalidState": fault.Denied,
			"SomethingNobodyKnows": fault.Internal,
		},
		"DeleteVolume": {"InvalidVolume.NotFound": fault.NotFound, "VolumeInUse": fault.InUse, "IncorrectState": fault.InUse, "AuthFailure": fault.Denied},
		"AttachVolume": {
			"AttachmentLimitExceeded": fault.Limit, "VolumeInUse": fault.InUse, "InvalidVolume.NotFound": fault.NotFound,
			"InvalidVolume.ZoneMismatch": fault.Invalid, "InvalidInstanceID.NotFound": fault.NotFound, "InvalidInstanceID.Malformed": fault.Invalid,
			"IncorrectInstanceState": fault.InUse, "EncryptedVolumesNotSupported": fault.Invalid, "CustomerKeyHasBeenRevoked": fault.Denied,
			"ServiceUnavailable": fault.UnknownOutcome,
		},
		"DetachVolume": {"IncorrectState": fault.InUse, "InvalidAttachment.NotFound": fault.NotFound, "InvalidVolume.NotFound": fault.NotFound},
		"ModifyVolume": {
			"InvalidParameter": fault.Invalid, "InvalidParameterDependency": fault.Invalid, "UnknownParameter": fault.Invalid,
			"UnsupportedOperation": fault.Invalid, "ValidationError": fault.Invalid, "VolumeModificationSizeLimitExceeded": fault.Limit,
			"MaxIOPSLimitExceeded": fault.Limit, "IncorrectModificationState": fault.FailedPrecondition, "VolumeModificationRateExceeded": fault.FailedPrecondition,
		},
		"CreateSnapshot": {
			"SnapshotLimitExceeded": fault.Limit, "ConcurrentSnapshotLimitExceeded": fault.Limit, "PendingSnapshotLimitExceeded": fault.Limit, "CustomerKeyHasBeenRevoked": fault.Denied,
			"SnapshotCreationPerVolumeRateExceeded": fault.Unavailable, "InternalFailure": fault.UnknownOutcome,
		},
		"DeleteSnapshot":  {"SnapshotLocked": fault.InUse, "InvalidSnapshot.InUse": fault.InUse},
		"DescribeVolumes": {"InternalError": fault.Unavailable, "UnauthorizedOperation": fault.Denied, "FilterLimitExceeded": fault.Internal},
	} {
		for code, want := range codes {
			t.Run(op+"/"+code, func(t *testing.T) {
				c.fault(emulator.Fault{Operation: op, Effect: "refuse", Code: code})
				defer c.ClearFaults()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				err := call(ctx, client, op, attached, c.node(0))
				if got := fault.KindOf(err); err == nil || got != want {
					t.Errorf("%v: kind %v, want %v", err, got, want)
				}
			})
		}
	}
}

func call(ctx context.Context, client *ec2.Client, op, id, instance string) error {
	var err error
	switch op {
	case "CreateVolume":
		_, err = client.CreateVolume(ctx, ec2.VolumeSpec{Zone: "us-east-1a", Type: "gp3", SizeGiB: 1})
	case "DeleteVolume":
		err = client.DeleteVolume(ctx, id)
	case "AttachVolume":
		err = client.AttachVolume(ctx, id, instance, "/dev/xvdba")
	case "DetachVolume":
		err = client.DetachVolume(ctx, id, instance, false)
	case "ModifyVolume":
		err = client.ModifyVolume(ctx, id, ec2.Change{SizeGiB: 2})
	case "CreateSnapshot":
		_, err = client.CreateSnapshot(ctx, id, "", nil)
	case "DeleteSnapshot":
		err = client.DeleteSnapshot(ctx, "snap-00000000000000000")
	case "DescribeVolumes":
		_, _, err = client.Volume(ctx, id)
	}
	return err
}
