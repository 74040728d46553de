package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestPublish_TakesTheNextNameWhereOneIsTaken(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{HiddenDevices: []string{"/dev/xvdba", "/dev/xvdbb"}}, 50*time.Millisecond)
	b := c.backend()
	first, err := publish(t, b, mustCreate(t, b, "one").Handle, c.node(0))
	if err != nil || first[volume.PublishDevice] != "/dev/xvdbc" {
		t.Fatalf("Publish = %v, %v", first, err)
	}
	failed := c.Calls()["AttachVolume"].Error
	second, err := publish(t, b, mustCreate(t, b, "two").Handle, c.node(0))
	if err != nil || second[volume.PublishDevice] != "/dev/xvdbd" {
		t.Errorf("Publish = %v, %v", second, err)
	}
	if again := c.Calls()["AttachVolume"].Error; failed != 2 || again != failed {
		t.Errorf("taken names were asked for %d times, then %d", failed, again)
	}
}

func TestPublish_ManyAtOnceGetNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	const n = 10
	devices := make([]string, n)
	var wg sync.WaitGroup
	for i := range devices {
		wg.Go(func() {
			v, err := b.Create(t.Context(), request(string(rune('a'+i)), 1))
			if err != nil {
				t.Error(err)
				return
			}
			out, err := publish(t, b, v.Handle, c.node(0))
			if err != nil {
				t.Error(err)
			}
			devices[i] = out[volume.PublishDevice]
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, d := range devices {
		if seen[d] {
			t.Errorf("%s was given twice: %v", d, devices)
		}
		seen[d] = true
	}
	if c.Calls()["AttachVolume"].Error > 0 {
		t.Errorf("some names were asked for twice: %+v", c.Calls()["AttachVolume"])
	}
}

func TestPublish_WhatEC2WouldRefuse(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Zones: []string{"us-east-1a", "us-east-1b"}, AttachLimit: 2}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreate(t, b, "v")
	check := func(name string, handle, node string, kind fault.Kind, text string) {
		t.Helper()
		if _, err := publish(t, b, handle, node); !fault.Is(err, kind) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v (%v), want %v with %q", name, err, fault.KindOf(err), kind, text)
		}
	}
	check("another zone", v.Handle, c.node(1), fault.Invalid, "zone us-east-1a")
	check("no such instance", v.Handle, "i-00000000000000000", fault.NotFound, "does not exist")
	check("no instance id", v.Handle, "some-node", fault.NotFound, "i- and 8 or 17")
	check("held by BOSH", c.foreign(map[string]string{ebs.TagHolder: "bosh:7d4f"}), c.node(0), fault.InUse, "held by bosh:7d4f")
	for _, name := range []string{"one", "two"} {
		if _, err := publish(t, b, mustCreate(t, b, name).Handle, c.node(0)); err != nil {
			t.Fatal(err)
		}
	}
	check("the attach limit", v.Handle, c.node(0), fault.Limit, c.node(0))
}

func TestPublish_ABlankDiskIsMarkedBeforeAnythingCanWriteToIt(t *testing.T) {
	t.Parallel()
	for context, want := range map[string]string{"": "raw", "raw": "raw", "bosh": "bosh"} {
		c := instant(t)
		b := c.backend()
		id := c.foreign(map[string]string{ebs.TagLayout: "blank"})
		_, err := b.Publish(t.Context(), volume.PublishRequest{
			Handle: id, Node: c.node(0), Capability: writer, Context: map[string]string{volume.ContextLayout: context},
		})
		if layout := c.State().Volumes[0].Tags[ebs.TagLayout]; err != nil || layout != want {
			t.Errorf("context layout %q: tag %q, %v; want %q", context, layout, err, want)
		}
	}
}

// TestPublish_ANameThatEC2Refuses ended the attach for good, where the reason was another than that it is in use.
func TestPublish_ANameThatEC2Refuses(t *testing.T) {
	t.Parallel()
	t.Run("another is tried", func(t *testing.T) {
		c := newCloud(t, emulator.Options{InvalidDevices: []string{"/dev/xvdba", "/dev/xvdbc", "/dev/sdf"}, HiddenDevices: []string{"/dev/xvdbb", "/dev/sdg"}}, 50*time.Millisecond)
		b := c.backend()
		for i, calls := range []int{4, 5} { // the second knows what the first has learned
			v := mustCreate(t, b, fmt.Sprint("v", i))
			if _, err := publish(t, b, v.Handle, c.node(0)); err != nil || c.count("AttachVolume") != calls {
				t.Errorf("Publish = %v after %d calls, want %d", err, c.count("AttachVolume"), calls)
			}
		}
		if _, err := c.disks().AttachDisk(t.Context(), c.create(t, volume.DiskRequest{Node: c.node(0)}), c.node(0)); err != nil {
			t.Errorf("attach_disk = %v", err)
		}
	})
	t.Run("not without end, and the next call goes on", func(t *testing.T) {
		var most []string
		for _, first := range "bc" {
			for second := 'a'; second <= 'z'; second++ {
				most = append(most, "/dev/xvd"+string(first)+string(second))
			}
		}
		c := newCloud(t, emulator.Options{InvalidDevices: most}, 50*time.Millisecond)
		b := c.backend()
		v := mustCreate(t, b, "v")
		if _, err := publish(t, b, v.Handle, c.node(0)); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "not a valid EBS device name") {
			t.Errorf("Publish = %v", err)
		}
		if _, err := publish(t, b, v.Handle, c.node(0)); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
	t.Run("a refusal that is not about the name is final", func(t *testing.T) {
		c := instant(t)
		b := c.backend()
		v := mustCreate(t, b, "v")
		c.fault(emulator.Fault{Operation: "AttachVolume", Effect: faults.Refuse, Code: "InvalidParameterValue"})
		if _, err := publish(t, b, v.Handle, c.node(0)); !fault.Is(err, fault.Invalid) || c.count("AttachVolume") != 1 {
			t.Errorf("Publish = %v after %d calls", err, c.count("AttachVolume"))
		}
	})
}

func TestPublish_ALostReplyIsNoSecondAttachment(t *testing.T) {
	t.Parallel()
	for _, effect := range []faults.Effect{faults.DropReply, faults.FailAfter} {
		t.Run(string(effect), func(t *testing.T) {
			c := instant(t)
			b := c.backend()
			v := mustCreate(t, b, "v")
			c.fault(emulator.Fault{Operation: "AttachVolume", Nth: 1, Effect: effect})
			if _, err := publish(t, b, v.Handle, c.node(0)); err != nil {
				t.Errorf("Publish = %v", err)
			}
			c.fault(emulator.Fault{Operation: "DetachVolume", Nth: 1, Effect: effect})
			if err := b.Unpublish(t.Context(), v.Handle, c.node(0)); err != nil {
				t.Errorf("Unpublish = %v", err)
			}
			if n := len(c.State().Volumes[0].Attachments); n != 0 {
				t.Errorf("%d attachments left", n)
			}
		})
	}
}

func TestPublish_UnderDisagreeingViews(t *testing.T) {
	t.Parallel()
	for seed := range int64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := lagging(t, seed)
			first, second := c.backend(), c.backend()
			v := mustCreate(t, first, "v")
			if err := again(func() error { _, err := publish(t, first, v.Handle, c.node(0)); return err }); err != nil {
				t.Fatal(err)
			}
			// Another process detaches it at once, and attaches it elsewhere.
			if err := again(func() error { return second.Unpublish(t.Context(), v.Handle, c.node(0)) }); err != nil {
				t.Fatal(err)
			}
			if a := c.State().Volumes[0].Attachments; len(a) > 0 {
				t.Errorf("Unpublish answered OK, EC2 holds %+v", a)
			}
			if err := again(func() error { _, err := publish(t, first, v.Handle, c.node(1)); return err }); err != nil {
				t.Fatal(err)
			}
			if a := c.State().Volumes[0].Attachments; len(a) != 1 || a[0].Instance != c.node(1) || a[0].State != "attached" {
				t.Errorf("Publish answered OK, EC2 holds %+v", a)
			}
		})
	}
}

// again repeats what may still be settling, as the sidecars do.
func again(do func() error) error {
	var err error
	for range 20 {
		if err = do(); err == nil || !fault.Is(err, fault.Pending) && !fault.Is(err, fault.InUse) {
			return err
		}
	}
	return err
}

func TestUnpublish_SucceedsWhereTheNodeIsGone(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "v")
	node := c.node(0)
	if _, err := publish(t, b, v.Handle, node); err != nil {
		t.Fatal(err)
	}
	c.terminate(node)
	if err := b.Unpublish(t.Context(), v.Handle, node); err != nil {
		t.Errorf("Unpublish from a terminated node = %v", err)
	}
	if _, err := publish(t, b, v.Handle, node); !fault.Is(err, fault.NotFound) {
		t.Errorf("Publish on a terminated node = %v", err)
	}
	if _, err := publish(t, b, v.Handle, c.node(1)); err != nil {
		t.Errorf("Publish elsewhere = %v", err)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	t.Run("modifications that are used up are a precondition with EC2's own time", func(t *testing.T) {
		c := instant(t)
		b := c.backend()
		v := mustCreate(t, b, "v")
		var err error
		for gib := int64(2); gib < 8 && err == nil; gib++ {
			_, err = b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: gib * volume.GiB})
		}
		if !fault.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), "VolumeModificationRateExceeded") || !strings.Contains(err.Error(), "again after 20") {
			t.Errorf("the fifth modification = %v (%v)", err, fault.KindOf(err))
		}
	})
	t.Run("a lost reply is not a second modification", func(t *testing.T) {
		c := instant(t)
		b := c.backend()
		v := mustCreate(t, b, "v")
		c.fault(emulator.Fault{Operation: "ModifyVolume", Nth: 1, Effect: faults.DropReply})
		size, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 3 * volume.GiB})
		if err != nil || size != 3*volume.GiB {
			t.Errorf("Expand = %d, %v", size, err)
		}
	})
	t.Run("larger than the type allows is final", func(t *testing.T) {
		c := instant(t)
		b := c.backend()
		v := mustCreate(t, b, "v")
		if _, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 70000 * volume.GiB}); !fault.Is(err, fault.OutOfRange) {
			t.Errorf("Expand = %v", err)
		}
	})
}

// holding is a storage whose guests never let go of a disk by themselves.
type holding struct{ storage.None }

func (holding) Detach(_ context.Context, _, _ string, force bool) error {
	if !force {
		return storage.ErrBusy
	}
	return nil
}

func TestUnpublish_ForcesOnlyWhereNothingRuns(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Storage: holding{}}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreate(t, b, "v")
	if _, err := publish(t, b, v.Handle, c.node(0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	err := b.Unpublish(ctx, v.Handle, c.node(0))
	if !fault.Is(err, fault.Pending) || !strings.Contains(err.Error(), "unmount it there") {
		t.Errorf("a running instance that holds the disk: %v", err)
	}
	if a := c.State().Volumes[0].Attachments; len(a) != 1 {
		t.Fatalf("taken from a running instance: %+v", a)
	}
	c.stop(c.node(0))
	if err := b.Unpublish(t.Context(), v.Handle, c.node(0)); err != nil {
		t.Errorf("a stopped instance: %v", err)
	}
	if a := c.State().Volumes[0].Attachments; len(a) != 0 {
		t.Errorf("still attached: %+v", a)
	}
}

func TestPublish_AnAttachmentThatHangsIsBegunAfresh(t *testing.T) {
	t.Parallel()
	clk := clock.New()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference, Clock: clk}, 50*time.Millisecond)
	b := c.backendWith(ebs.Options{StuckAfter: 200 * time.Millisecond})
	v := mustCreate(t, b, "v")
	c.speed(0) // EC2 makes no progress
	_, err := publish(t, b, v.Handle, c.node(0))
	if !fault.Is(err, fault.Pending) || !strings.Contains(err.Error(), "the attachment was ended") {
		t.Errorf("Publish = %v (%v)", err, fault.KindOf(err))
	}
	c.speed(100)
	if err := again(func() error { _, err := publish(t, b, v.Handle, c.node(0)); return err }); err != nil {
		t.Errorf("asked again: %v", err)
	}
}
