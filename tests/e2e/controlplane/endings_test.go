package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// oneDisk waits until AWS has one disk for the namespace, and it is that one.
func (u *user) oneDisk(id string) {
	u.Helper()
	u.eventually("only "+id+" is in AWS", func(ctx context.Context) error {
		disks, _, err := u.inAWS(ctx)
		if err == nil && (len(disks) != 1 || disks[0].ID != id || disks[0].State != "available") {
			err = fmt.Errorf("there are %+v", disks)
		}
		return err
	})
}

// met waits until the namespace's faults that count calls are used up.
func (u *user) met() {
	u.Helper()
	u.eventually("AWS has met the fault", func(ctx context.Context) error {
		var live []fault
		if err := here.Emulator(ctx, http.MethodGet, "faults", "", &live); err != nil {
			return err
		}
		if slices.ContainsFunc(live, func(f fault) bool { return f.Value == u.ns && f.Nth > 0 }) {
			return fmt.Errorf("there are %+v", live)
		}
		return nil
	})
}

// TestCreate_endsInError: a volume that EC2 could not create after all is replaced, and does not stay.
func TestCreate_endsInError(t *testing.T) {
	t.Parallel()
	u := begin(t)
	u.faults(fault{Operation: "CreateVolume", Value: u.ns, Effect: "fail-later", Nth: 1})
	u.claim("data", "1Gi")
	u.oneDisk(u.bound("data"))
}

// TestCreate_alwaysEndsInError: of a claim that is given up no failed volume stays.
func TestCreate_alwaysEndsInError(t *testing.T) {
	t.Parallel()
	u := begin(t)
	repair := u.faults(fault{Operation: "CreateVolume", Value: u.ns, Effect: "fail-later"})
	u.claim("kept", "1Gi")
	u.claim("given-up", "1Gi")
	u.stays("a few tries", 8*time.Second, func(context.Context) error { return nil })
	u.deleteClaim("given-up")
	u.stays("a few tries more", 4*time.Second, func(context.Context) error { return nil })
	repair()
	u.oneDisk(u.bound("kept"))
}

// TestCreate_failedVolumeCannotBeDeleted: the claim is kept by its provisioner until the failed volume is gone. No other test
// may run beside it: it holds a call.
func TestCreate_failedVolumeCannotBeDeleted(t *testing.T) {
	u := begin(t)
	u.faults(
		fault{Operation: "CreateVolume", Value: u.ns, Effect: "fail-later", Nth: 1},
		fault{Operation: "CreateVolume", Value: u.ns, Effect: "hold-after", Nth: 1})
	u.claim("data", "1Gi")
	u.met()
	var failed disk
	u.eventually("the volume is there", func(ctx context.Context) error {
		disks, _, err := u.inAWS(ctx)
		if err == nil && len(disks) != 1 {
			return fmt.Errorf("there are %+v", disks)
		}
		if err == nil {
			failed = disks[0]
		}
		return err
	})
	repair := u.faults(fault{Operation: "DeleteVolume", Value: failed.ID, Effect: "refuse", Code: "UnauthorizedOperation"})
	u.must(here.Emulator(u.Context(), http.MethodPost, "release", `{"operation":"CreateVolume"}`, nil))
	u.told("data", failed.ID)
	u.deleteClaim("data")
	u.stays("it cannot be deleted", 3*time.Second, func(ctx context.Context) error {
		return u.check(ctx, failed.ID, func(disk) bool { return true })
	})
	repair()
}

// TestCreate_lateThoughTheDriverDied: what AWS does only after the driver died is found by its successor. It restarts the
// driver, so that no other test may run beside it.
func TestCreate_lateThoughTheDriverDied(t *testing.T) {
	u := begin(t)
	u.faults(fault{Operation: "CreateVolume", Value: u.ns, Effect: "late", DelayMS: 4000, Nth: 1})
	u.claim("data", "1Gi")
	u.met()
	u.must(here.Kill("driver"))
	disks, _, err := u.inAWS(u.Context())
	u.must(err)
	if len(disks) > 0 {
		u.Fatalf("AWS was not late: there are %+v", disks)
	}
	id := u.bound("data")
	u.stays("no second one", 5*time.Second, func(ctx context.Context) error {
		disks, _, err := u.inAWS(ctx)
		if err == nil && len(disks) > 1 {
			err = fmt.Errorf("there are %+v", disks)
		}
		return err
	})
	u.oneDisk(id)
}

// TestPublish_lateThoughTheDriverDied: what AWS attaches only after the driver died is not attached for a pod that is gone.
func TestPublish_lateThoughTheDriverDied(t *testing.T) {
	u := begin(t)
	u.claim("data", "1Gi")
	id := u.bound("data")
	u.faults(fault{Operation: "AttachVolume", Value: id, Effect: "late", DelayMS: 4000, Nth: 1})
	u.pod("pod", "data", u.node(id))
	u.eventually("AWS has met the fault", func(ctx context.Context) error {
		var live []fault
		err := here.Emulator(ctx, http.MethodGet, "faults", "", &live)
		if slices.ContainsFunc(live, func(f fault) bool { return f.Value == id }) {
			err = errors.New("it has not")
		}
		return err
	})
	u.must(here.Kill("driver"))
	u.attachment(id, "attached", isAttached)
	u.becomes(id, "is attached", attached)
	u.told("pod", "SuccessfulAttachVolume") // before it knows, Kubernetes' own controller does not always detach
	u.deletePod("pod")
	u.noAttachment(id)
	u.becomes(id, "is free", free)
}

// TestModification_thatEndsFailed: sidecars that repeat a change that EC2 ends as failed leave some of a day's four, so that
// the user's other wish is followed.
func TestModification_thatEndsFailed(t *testing.T) {
	for name, ask := range map[string]func(u *user){
		"growth": func(u *user) { u.resize("data", "20Gi") },
		"class":  func(u *user) { u.patch("data", `{"volumeAttributesClassName":"fast"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := begin(t)
			plain := "plain"
			u.claim("data", "10Gi", func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeAttributesClassName = &plain })
			id := u.bound("data")
			repair := u.faults(fault{Operation: "ModifyVolume", Value: id, Effect: "fail-later"})
			ask(u)
			u.becomes(id, "failed", func(d disk) bool { return d.Modification == "failed" })
			u.stays("many tries", 20*time.Second, func(context.Context) error { return nil })
			repair()
			u.resize("data", "30Gi")
			u.capacity("data", "30Gi")
			u.becomes(id, "has 30 GiB", func(d disk) bool { return d.SizeGiB == 30 })
		})
	}
}

// slowly lets the emulator's time pass slowly until faster is called: what is being modified stays so.
func (u *user) slowly() (faster func()) {
	u.Helper()
	speed := func(ctx context.Context, to string) {
		u.must(here.Emulator(ctx, http.MethodPost, "clock", `{"speed":`+to+`}`, nil))
	}
	speed(u.Context(), "0.02")
	faster = func() { speed(context.Background(), "1") }
	u.Cleanup(faster)
	return faster
}

// TestModification_runs: what a user takes back while another modification runs is not done once that has ended. AWS is slow
// meanwhile for all, so that no other test may run beside it.
func TestModification_runs(t *testing.T) {
	start := func(t *testing.T) (u *user, id string) {
		t.Helper()
		u = begin(t)
		plain := "plain"
		u.claim("data", "10Gi", func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeAttributesClassName = &plain })
		return u, u.bound("data")
	}
	t.Run("size is taken back", func(t *testing.T) {
		u, id := start(t)
		faster := u.slowly()
		u.patch("data", `{"volumeAttributesClassName":"fast"}`)
		u.becomes(id, "is modified", func(d disk) bool { return d.Modification == "modifying" })
		u.resize("data", "1000Gi")
		u.told("data", "VolumeResizeFailed", "FailedPrecondition")
		u.resize("data", "20Gi")
		u.stays("the resizer has seen it", 2*time.Second, func(context.Context) error { return nil })
		faster()
		u.capacity("data", "20Gi")
		u.becomes(id, "has 20 GiB", func(d disk) bool { return d.SizeGiB == 20 && d.IOPS == 4000 })
		u.stays("it is not grown further", 5*time.Second, func(ctx context.Context) error {
			return u.check(ctx, id, func(d disk) bool { return d.SizeGiB == 20 })
		})
	})
	t.Run("class is taken back", func(t *testing.T) {
		u, id := start(t)
		faster := u.slowly()
		u.resize("data", "20Gi")
		u.becomes(id, "is modified", func(d disk) bool { return d.Modification == "modifying" })
		u.patch("data", `{"volumeAttributesClassName":"fast"}`)
		u.told("data", "VolumeModifyFailed", "FailedPrecondition")
		u.patch("data", `{"volumeAttributesClassName":"plain"}`)
		u.stays("the resizer has seen it", 2*time.Second, func(context.Context) error { return nil })
		faster()
		u.capacity("data", "20Gi")
		u.class("data", "plain")
		u.stays("the class is not applied", 5*time.Second, func(ctx context.Context) error {
			return u.check(ctx, id, func(d disk) bool { return d.IOPS == 3000 })
		})
	})
}
