package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// failure is a way in which AWS does not do what it is asked for.
type failure struct {
	name, effect, code string
}

// definite says that nothing was done, and that the user is told why.
func (f failure) definite() bool { return f.effect == "refuse" }

// quota says that only a user can change that AWS refuses it, by another wish or a higher quota.
func (f failure) quota() bool { return strings.Contains(f.code, "Limit") }

// failures are the kinds that each operation meets, beside the codes of its own quotas.
func failures(quotas ...string) []failure {
	all := []failure{
		{"denied", "refuse", "UnauthorizedOperation"},
		{"throttled", "throttle", ""},
		{"done-and-reply-lost", "drop-reply", ""},
		{"done-and-failed", "fail-after", "InternalError"},
	}
	for _, code := range quotas {
		all = append(all, failure{strings.ToLower(code), "refuse", code})
	}
	return all
}

// each runs a test for each kind of failure, all at the same time.
func each(t *testing.T, all []failure, do func(*user, failure)) {
	t.Parallel()
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			do(begin(t), f)
		})
	}
}

// seen lets AWS fail for as long as a user needs to see it: until an event of the object tells of a definite refusal, else for
// a few tries.
func (u *user) seen(f failure, object string) {
	u.Helper()
	if f.definite() {
		u.told(object, f.code)
		return
	}
	u.stays("a few tries", 4*time.Second, func(context.Context) error { return nil })
}

// TestCreate: the claim that is kept gets one volume as soon as AWS makes volumes; of the claim that is given up nothing is left.
func TestCreate(t *testing.T) {
	each(t, failures("VolumeLimitExceeded", "InsufficientVolumeCapacity", "MaxIOPSLimitExceeded"), func(u *user, f failure) {
		repair := u.faults(fault{Operation: "CreateVolume", Value: u.ns, Effect: f.effect, Code: f.code})
		u.claim("kept", "1Gi")
		u.claim("given-up", "1Gi")
		u.seen(f, "kept")
		u.deleteClaim("given-up")
		repair()
		id := u.bound("kept")
		u.eventually("only the kept one is in AWS", func(ctx context.Context) error {
			disks, _, err := u.inAWS(ctx)
			if err == nil && (len(disks) != 1 || disks[0].ID != id) {
				err = fmt.Errorf("there are %+v, want %s", disks, id)
			}
			return err
		})
	})
}

// TestCreate_quotaReschedules: a zone that has no room makes the scheduler choose again.
func TestCreate_quotaReschedules(t *testing.T) {
	t.Parallel()
	u := begin(t)
	repair := u.faults(fault{Operation: "CreateVolume", Value: u.ns, Effect: "refuse", Code: "InsufficientVolumeCapacity"})
	claims := here.Client.CoreV1().PersistentVolumeClaims(u.ns)
	class := "later"
	u.claim("data", "1Gi", func(s *corev1.PersistentVolumeClaimSpec) { s.StorageClassName = &class })
	watch, err := claims.Watch(u.Context(), metav1.ListOptions{})
	u.must(err)
	defer watch.Stop()
	u.pod("pod", "data", "")
	chosen, late := 0, time.After(patience)
	for last := ""; chosen < 2; {
		select {
		case e := <-watch.ResultChan():
			c, ok := e.Object.(*corev1.PersistentVolumeClaim)
			if !ok {
				u.Fatalf("the watch tells %+v", e)
			}
			if node := c.Annotations["volume.kubernetes.io/selected-node"]; node != last {
				if last = node; node != "" {
					chosen++
				}
			}
		case <-late:
			u.Fatalf("a node was chosen %d times, want a second time", chosen)
		}
	}
	u.told("data", "InsufficientVolumeCapacity")
	repair()
	u.bound("data")
}

// TestPublish: the volume is attached as soon as AWS attaches; for the pod that is given up it is not.
func TestPublish(t *testing.T) {
	each(t, failures("AttachmentLimitExceeded"), func(u *user, f failure) {
		u.claim("kept", "1Gi")
		u.claim("given-up", "1Gi")
		kept, given := u.bound("kept"), u.bound("given-up")
		repair := u.faults(
			fault{Operation: "AttachVolume", Value: kept, Effect: f.effect, Code: f.code},
			fault{Operation: "AttachVolume", Value: given, Effect: f.effect, Code: f.code})
		u.pod("keeper", "kept", u.node(kept))
		u.pod("leaver", "given-up", u.node(given))
		u.seen(f, "keeper")
		if f.definite() {
			u.attachment(kept, "attach error", func(s storagev1.VolumeAttachmentStatus) bool {
				return s.AttachError != nil && strings.Contains(s.AttachError.Message, f.code)
			})
		}
		u.deletePod("leaver")
		repair()
		u.attachment(kept, "attached", isAttached)
		u.becomes(kept, "is attached", attached)
		u.noAttachment(given)
		u.becomes(given, "is free", free)
		u.deletePod("keeper")
		u.noAttachment(kept)
	})
}

// TestUnpublish: the attachment stays while AWS does not detach, and tells why; it goes as soon as AWS detaches.
func TestUnpublish(t *testing.T) {
	each(t, failures(), func(u *user, f failure) {
		u.claim("data", "1Gi")
		id := u.bound("data")
		u.pod("pod", "data", u.node(id))
		u.attachment(id, "attached", isAttached)
		repair := u.faults(fault{Operation: "DetachVolume", Value: id, Effect: f.effect, Code: f.code})
		u.deletePod("pod")
		if f.definite() {
			u.attachment(id, "detach error", func(s storagev1.VolumeAttachmentStatus) bool {
				return s.DetachError != nil && strings.Contains(s.DetachError.Message, f.code)
			})
			u.must(u.check(u.Context(), id, attached))
		} else {
			u.seen(f, "")
		}
		repair()
		u.noAttachment(id)
		u.becomes(id, "is free", free)
	})
}

// TestExpand_refusedIsLowered: a size that is refused can be taken back to a smaller one, which is followed while the first
// would still be refused.
func TestExpand_refusedIsLowered(t *testing.T) {
	t.Parallel()
	for n, code := range []string{
		"VolumeLimitExceeded", "UnauthorizedOperation", "VolumeModificationRateExceeded", "VolumeModificationSizeLimitExceeded", "InvalidParameterValue",
		"IncorrectState", "InvalidVolumeModification.LimitExceeded",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			u := begin(t)
			u.claim("data", "10Gi")
			id := u.bound("data")
			big := fmt.Sprint(1001 + n) // GiB; no other test asks for it
			u.faults(fault{Operation: "ModifyVolume", Value: big, Effect: "refuse", Code: code})
			u.resize("data", big+"Gi")
			u.told("data", code)
			u.resize("data", "20Gi")
			u.capacity("data", "20Gi")
			u.becomes(id, "has 20 GiB", func(d disk) bool { return d.SizeGiB == 20 })
		})
	}
}

// TestExpand: a growth that the user keeps asking for is done as soon as AWS does it, and once.
func TestExpand(t *testing.T) {
	each(t, failures("VolumeLimitExceeded"), func(u *user, f failure) {
		u.claim("data", "10Gi")
		id := u.bound("data")
		repair := u.faults(fault{Operation: "ModifyVolume", Value: id, Effect: f.effect, Code: f.code})
		u.resize("data", "20Gi")
		u.seen(f, "data")
		repair()
		size := 20
		if f.quota() { // the resizer asks again after five minutes, or at once for another size
			u.resize("data", "21Gi")
			size = 21
		}
		u.capacity("data", fmt.Sprintf("%dGi", size))
		u.becomes(id, "is grown", func(d disk) bool { return d.SizeGiB == size })
	})
}

// TestModify: a class is applied as soon as AWS does it; one that was refused and taken back is not applied any more.
func TestModify(t *testing.T) {
	each(t, failures("MaxIOPSLimitExceeded", "VolumeIOPSLimit", "VolumeModificationRateExceeded"), func(u *user, f failure) {
		plain := "plain"
		class := func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeAttributesClassName = &plain }
		u.claim("kept", "10Gi", class)
		u.claim("given-up", "10Gi", class)
		kept, given := u.bound("kept"), u.bound("given-up")
		repair := u.faults(
			fault{Operation: "ModifyVolume", Value: kept, Effect: f.effect, Code: f.code},
			fault{Operation: "ModifyVolume", Value: given, Effect: f.effect, Code: f.code})
		u.patch("kept", `{"volumeAttributesClassName":"fast"}`)
		if f.definite() {
			u.patch("given-up", `{"volumeAttributesClassName":"fast"}`)
			u.told("given-up", f.code)
			u.patch("given-up", `{"volumeAttributesClassName":"plain"}`)
		}
		u.seen(f, "kept")
		repair()
		if f.quota() { // the resizer asks again after five minutes, or at once for another class
			u.patch("kept", `{"volumeAttributesClassName":"plain"}`)
			u.class("kept", "plain")
			u.patch("kept", `{"volumeAttributesClassName":"fast"}`)
		}
		u.becomes(kept, "has the class", func(d disk) bool { return d.IOPS == 4000 })
		u.class("kept", "fast")
		u.class("given-up", "plain")
		u.must(u.check(u.Context(), given, func(d disk) bool { return d.IOPS == 3000 && d.Modification == "" }))
	})
}

// TestSnapshot: a snapshot that AWS refuses says why and can be deleted; one that is kept is made as soon as AWS makes it, once.
func TestSnapshot(t *testing.T) {
	each(t, failures("SnapshotLimitExceeded", "ConcurrentSnapshotLimitExceeded", "PendingSnapshotLimitExceeded"), func(u *user, f failure) {
		u.claim("data", "1Gi")
		repair := u.faults(fault{Operation: "CreateSnapshot", Value: u.bound("data"), Effect: f.effect, Code: f.code})
		u.snapshot("kept", "data")
		if f.definite() {
			u.snapshot("given-up", "data")
			u.snapshotError("kept", f.code)
			u.snapshotError("given-up", f.code)
			u.snapshotGone("given-up")
		} else {
			u.seen(f, "")
		}
		repair()
		u.snapshotReady("kept")
		u.eventually("one snapshot in AWS", func(ctx context.Context) error {
			_, shots, err := u.inAWS(ctx)
			if err == nil && len(shots) != 1 {
				err = fmt.Errorf("there are %+v", shots)
			}
			return err
		})
	})
}

// TestDelete: a volume that AWS does not delete stays with its PersistentVolume, which says why, and goes as soon as AWS deletes.
func TestDelete(t *testing.T) {
	each(t, failures(), func(u *user, f failure) {
		u.claim("data", "1Gi")
		id := u.bound("data")
		pv := u.volume(id)
		repair := u.faults(fault{Operation: "DeleteVolume", Value: id, Effect: f.effect, Code: f.code})
		u.deleteClaim("data")
		if f.definite() {
			u.told(pv, "VolumeFailedDelete", f.code)
			u.must(u.check(u.Context(), id, free))
		} else {
			u.seen(f, "")
		}
		repair()
		u.eventually("the PersistentVolume is gone", func(ctx context.Context) error {
			if _, err := u.findVolume(ctx, id); err == nil {
				return errors.New("it is still there")
			}
			return nil
		})
	})
}

// TestDeleteSnapshot is TestDelete for snapshots.
func TestDeleteSnapshot(t *testing.T) {
	each(t, failures(), func(u *user, f failure) {
		u.claim("data", "1Gi")
		u.bound("data")
		u.snapshot("snap", "data")
		u.snapshotReady("snap")
		_, shots, err := u.inAWS(u.Context())
		u.must(err)
		repair := u.faults(fault{Operation: "DeleteSnapshot", Value: shots[0].ID, Effect: f.effect, Code: f.code})
		u.must(objects.Resource(snapshots).Namespace(u.ns).Delete(u.Context(), "snap", metav1.DeleteOptions{}))
		u.stays("a few tries", 4*time.Second, func(context.Context) error { return nil })
		if _, shots, err = u.inAWS(u.Context()); f.definite() && (err != nil || len(shots) != 1) {
			u.Errorf("in AWS are %+v (%v), want the one that cannot be deleted", shots, err)
		}
		repair()
	})
}
