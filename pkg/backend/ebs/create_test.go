package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestCreate_ALostReplyMakesNoSecondVolume(t *testing.T) {
	t.Parallel()
	for _, effect := range []faults.Effect{faults.DropReply, faults.FailAfter} {
		t.Run(string(effect), func(t *testing.T) {
			c := instant(t)
			c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: effect})
			b := c.backend()
			v, err := b.Create(t.Context(), request("v", 1))
			for i := 0; err != nil && i < 3; i++ {
				if !fault.Is(err, fault.UnknownOutcome) {
					t.Fatalf("Create = %v (%v)", err, fault.KindOf(err))
				}
				v, err = b.Create(t.Context(), request("v", 1))
			}
			if err != nil || len(c.ours()) != 1 || c.ours()[0] != v.Handle {
				t.Errorf("Create = %v, %v; in the cloud: %v", v.Handle, err, c.ours())
			}
		})
	}
}

func TestCreate_TwoProcessesAtOnceMakeOneVolume(t *testing.T) {
	t.Parallel()
	c := lagging(t, 3)
	backends := []*ebs.Backend{c.backend(), c.backend()}
	handles := make([]string, 8)
	var wg sync.WaitGroup
	for i := range handles {
		wg.Go(func() {
			v, err := backends[i%2].Create(t.Context(), request("v", 1))
			if err != nil {
				t.Errorf("Create: %v", err)
			}
			handles[i] = v.Handle
		})
	}
	wg.Wait()
	if ours := c.ours(); len(ours) != 1 {
		t.Errorf("in the cloud: %v, answered: %v", ours, handles)
	}
}

func TestCreate_ALimitOnTheRepetitionFindsTheVolume(t *testing.T) {
	t.Parallel()
	c := instant(t)
	v := mustCreate(t, c.backend(), "v")
	// The name's tag is not visible at first, then EC2 answers its limit to the repetition.
	c.fault(emulator.Fault{Operation: "CreateVolume", Effect: "refuse", Code: "VolumeLimitExceeded"})
	b := c.backend()
	if again, err := b.Create(t.Context(), request("v", 1)); err != nil || again.Handle != v.Handle {
		t.Errorf("Create = %v, %v", again.Handle, err)
	}
	if _, err := b.Create(t.Context(), request("other", 1)); !fault.Is(err, fault.Limit) {
		t.Errorf("a new volume beyond the limit = %v, want limit", err)
	}
}

func TestCreate_AKeyThatCannotBeUsedIsNamed(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	req := request("v", 1)
	req.Parameters = map[string]string{"kmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"}
	_, err := b.Create(t.Context(), req)
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "key/00000000") || !strings.Contains(err.Error(), "kms:CreateGrant") {
		t.Fatalf("Create with a dead key = %v (%v)", err, fault.KindOf(err))
	}
	// The StorageClass is mended; the same name must work, also after a restart, although
	// EC2 still remembers the token of the volume that vanished.
	req.Parameters = nil
	v, err := b.Create(t.Context(), req)
	for i := 0; fault.Is(err, fault.UnknownOutcome) && i < 5; i++ {
		v, err = b.Create(t.Context(), req)
	}
	if err != nil || len(c.ours()) != 1 {
		t.Errorf("after mending: %v, %v; in the cloud: %v", v.Handle, err, c.ours())
	}
}

func TestCreate_AMendedKeyWorksAfterARestart(t *testing.T) {
	t.Parallel()
	c := instant(t)
	req := request("v", 1)
	req.Parameters = map[string]string{"kmsKeyId": "alias/none"}
	if _, err := c.backend().Create(t.Context(), req); !fault.Is(err, fault.Denied) {
		t.Fatalf("Create with a dead key = %v", err)
	}
	req.Parameters = nil
	b := c.backend()
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := b.Create(deadline, req)
	for fault.Is(err, fault.UnknownOutcome) && deadline.Err() == nil {
		_, err = b.Create(deadline, req)
	}
	if err != nil || len(c.ours()) != 1 {
		t.Errorf("Create = %v; in the cloud: %v", err, c.ours())
	}
}

func TestCreate_Parameters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		parameters map[string]string
		gib        int64
		want       string // type size iops throughput encrypted; or a part of the error
		kind       fault.Kind
	}{
		{name: "defaults", want: "gp3 1 3000 125 false"},
		{name: "iops and throughput", parameters: map[string]string{"iops": "4000", "throughput": "250"}, gib: 10, want: "gp3 10 4000 250 false"},
		{name: "iops per GiB", parameters: map[string]string{"type": "io2", "iopsPerGB": "50"}, gib: 10, want: "io2 10 500 0 false"},
		{name: "iops per GiB cut to the type's ratio", parameters: map[string]string{"type": "io1", "iopsPerGB": "500"}, gib: 10, want: "io1 10 500 0 false"},
		{name: "encrypted", parameters: map[string]string{"encrypted": "true"}, want: "gp3 1 3000 125 true"},
		{name: "the type's least size", parameters: map[string]string{"type": "st1"}, want: "st1 125 0 0 false"},
		{name: "both iops", parameters: map[string]string{"iops": "3000", "iopsPerGB": "3"}, want: "exclude each other", kind: fault.Invalid},
		{name: "io2 without iops", parameters: map[string]string{"type": "io2"}, want: `needs the parameter iops`, kind: fault.Invalid},
		{name: "iops on gp2", parameters: map[string]string{"type": "gp2", "iops": "3000"}, want: "takes neither", kind: fault.Invalid},
		{name: "throughput on io2", parameters: map[string]string{"type": "io2", "iops": "100", "throughput": "1"}, want: "takes no parameter throughput", kind: fault.Invalid},
		{name: "too large", gib: 70000, want: "more than the 65536 GiB", kind: fault.OutOfRange},
		{name: "a key on an unencrypted volume", parameters: map[string]string{"encrypted": "false", "kmsKeyId": "k"}, want: "contradict", kind: fault.Invalid},
		{name: "a reserved tag", parameters: map[string]string{"tagSpecification_1": "diskbridge.io/cluster=other"}, want: "reserved", kind: fault.Invalid},
		{name: "a tag without value", parameters: map[string]string{"tagSpecification_1": "novalue"}, want: "key=value", kind: fault.Invalid},
		{name: "a zone outside the topology", parameters: map[string]string{"availabilityZone": "us-east-1b"}, want: "outside the requested topology", kind: fault.Invalid},
		{name: "too few iops are raised on demand", parameters: map[string]string{"type": "io1", "iopsPerGB": "1", "allowAutoIOPSPerGBIncrease": "true"}, gib: 10, want: "io1 10 100 0 false"},
		{name: "blockExpress is accepted", parameters: map[string]string{"blockExpress": "true"}, want: "gp3 1 3000 125 false"},
		{name: "too few iops are EC2's to refuse", parameters: map[string]string{"type": "io1", "iopsPerGB": "1"}, gib: 10, want: "iops", kind: fault.Invalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := instant(t)
			req := request("v", max(tc.gib, 1))
			req.Parameters = tc.parameters
			v, err := c.backend().Create(t.Context(), req)
			if err != nil {
				if tc.kind == fault.Internal || !fault.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v (%v), want %v with %q", err, fault.KindOf(err), tc.kind, tc.want)
				}
				if len(c.ours()) > 0 {
					t.Errorf("refused, but made %v", c.ours())
				}
				return
			}
			made, _, err := c.client().Volume(t.Context(), v.Handle)
			if got := fmt.Sprint(made.Type, made.SizeGiB, made.IOPS, made.Throughput, made.Encrypted); err != nil || !sameWords(got, tc.want) {
				t.Errorf("made %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

// sameWords compares without spaces.
func sameWords(a, b string) bool {
	return strings.ReplaceAll(a, " ", "") == strings.ReplaceAll(b, " ", "")
}

func TestCreate_TagsAndDefaultsOfTheDriver(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backendWith(ebs.Options{Encrypted: true, Owner: backend.Owner{Tags: map[string]string{"team": "storage", "cost": "7"}}})
	req := request("v", 1)
	req.Parameters = map[string]string{"tagSpecification_1": "team=mine", "csi.storage.k8s.io/pvc/name": "claim"}
	v, err := b.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := c.client().Volume(t.Context(), v.Handle)
	if err != nil || !made.Encrypted || made.KMSKey == "" {
		t.Errorf("encryption: %v %q, %v", made.Encrypted, made.KMSKey, err)
	}
	for k, want := range map[string]string{
		"team": "mine", "cost": "7", "kubernetes.io/created-for/pvc/name": "claim",
		ebs.TagCluster: cluster, ebs.TagVolumeName: "v", ebs.TagLayout: "raw",
	} {
		if made.Tags[k] != want {
			t.Errorf("tag %s = %q, want %q", k, made.Tags[k], want)
		}
	}
	unencrypted := request("plain", 1)
	unencrypted.Parameters = map[string]string{"encrypted": "false"}
	if v, err := b.Create(t.Context(), unencrypted); err != nil {
		t.Errorf("encrypted=false beats the driver's default: %v, %v", v, err)
	}
}

func TestCreate_WithoutTopologyIsDeterministicAndSpread(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Zones: []string{"us-east-1a", "us-east-1b"}}, 50*time.Millisecond)
	b := c.backend()
	zones := map[string]bool{}
	for i := range 12 {
		req := request(fmt.Sprint("v", i), 1)
		req.Topology = volume.Requirement{}
		first, err := b.Create(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.backend().Create(t.Context(), req)
		if err != nil || again.Handle != first.Handle {
			t.Errorf("asked again: %v, %v", again.Handle, err)
		}
		zones[first.Topology[0].Zone] = true
	}
	if len(zones) < 2 {
		t.Errorf("all volumes went to %v", zones)
	}
}

func TestCreate_APassedDeadlineSaysAskAgain(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 0)
	c.speed(0) // EC2 makes no progress
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	b := c.backend()
	if _, err := b.Create(ctx, request("v", 1)); !fault.Is(err, fault.Pending) || !strings.Contains(err.Error(), "creating") {
		t.Errorf("Create = %v (%v)", err, fault.KindOf(err))
	}
	c.speed(20)
	if _, err := b.Create(t.Context(), request("v", 1)); err != nil || len(c.ours()) != 1 {
		t.Errorf("asked again: %v; in the cloud: %v", err, c.ours())
	}
}

func TestCreateSnapshot_ALostReplyMakesNoSecondSnapshot(t *testing.T) {
	t.Parallel()
	c := lagging(t, 5)
	b := c.backend()
	v := mustCreate(t, b, "v")
	c.fault(emulator.Fault{Operation: "CreateSnapshot", Nth: 1, Effect: "drop-reply"})
	req := volume.SnapshotRequest{Name: "s", Source: v.Handle}
	if _, err := b.CreateSnapshot(t.Context(), req); !fault.Is(err, fault.UnknownOutcome) {
		t.Fatalf("CreateSnapshot with a lost reply = %v (%v)", err, fault.KindOf(err))
	}
	for _, b := range []*ebs.Backend{b, c.backend()} { // the same process, and the next one
		if _, err := b.CreateSnapshot(t.Context(), req); err != nil {
			t.Errorf("asked again: %v", err)
		}
	}
	if n := len(c.State().Snapshots); n != 1 {
		t.Errorf("%d snapshots in the cloud", n)
	}
}

func TestCreateSnapshot_AskedAgainBeforeEC2ShowsItIsOneSnapshot(t *testing.T) {
	t.Parallel()
	for seed := range int64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := lagging(t, seed)
			b := c.backend()
			v := mustCreate(t, b, "v")
			ids := map[string]bool{}
			for range 10 {
				s, err := b.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "s", Source: v.Handle})
				if err != nil {
					t.Fatal(err)
				}
				ids[s.ID] = true
			}
			if n := len(c.State().Snapshots); n != 1 || len(ids) != 1 {
				t.Errorf("%d snapshots in the cloud, answered %v", n, ids)
			}
		})
	}
}

func TestCreate_OtherFormatOptionsUnderTheNameAreAConflict(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	ask := func(name string, parameters map[string]string) (volume.Volume, error) {
		req := request(name, 1)
		req.Parameters = parameters
		return b.Create(t.Context(), req)
	}
	v, err := ask("v", map[string]string{"blockSize": "4k", "inodeSize": "512"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ask("v", map[string]string{"InodeSize": "512", "blocksize": "4096"}); err != nil || again.Handle != v.Handle {
		t.Errorf("the same in other words: %v, %v", again.Handle, err)
	}
	for _, other := range []map[string]string{nil, {"blockSize": "4k"}, {"blockSize": "2k", "inodeSize": "512"}} {
		if _, err := ask("v", other); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "formatted with blockSize=4096 inodeSize=512") {
			t.Errorf("%v: %v", other, err)
		}
	}
	// A volume of the driver that we stand in for, or of an older version of ours, does not say.
	if err := c.client().DeleteTags(t.Context(), v.Handle, []string{ebs.TagFormat}); err != nil {
		t.Fatal(err)
	}
	if again, err := ask("v", nil); err != nil || again.Handle != v.Handle {
		t.Errorf("a volume that does not say: %v, %v", again.Handle, err)
	}
}

func TestCreate_AnotherLayoutUnderTheNameIsAConflict(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	mustCreate(t, b, "v")
	req := request("v", 1)
	req.Parameters = map[string]string{"layout": "bosh"}
	if _, err := b.Create(t.Context(), req); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "its layout is raw, not bosh") {
		t.Errorf("Create = %v", err)
	}
}

// TestCreate_ARefusalAfterALostAnswer: EC2 has made the volume, its answer was lost, the name's tag is not visible yet, and the
// repetition is refused. A final error would let the claim go, or be scheduled elsewhere, and the volume would stay.
func TestCreate_ARefusalAfterALostAnswer(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"VolumeLimitExceeded", "UnauthorizedOperation", "InvalidParameterValue", "SomethingNew"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			for seed := range int64(3) {
				c := lagging(t, seed)
				b := c.backend()
				c.fault(emulator.Fault{Operation: "CreateVolume", Effect: "hold-after"})
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					_ = c.WaitHeld(ctx, "CreateVolume")
					cancel()
				}()
				if _, err := b.Create(ctx, request("v", 1)); !fault.Is(err, fault.UnknownOutcome) {
					t.Fatalf("Create = %v (%v)", err, fault.KindOf(err))
				}
				c.ClearFaults()
				c.fault(emulator.Fault{Operation: "CreateVolume", Effect: "refuse", Code: code})
				if v, err := b.Create(t.Context(), request("v", 1)); err != nil || len(c.ours()) != 1 || c.ours()[0] != v.Handle {
					t.Errorf("seed %d: Create = %v, %v (%v); in the cloud: %v", seed, v.Handle, err, fault.KindOf(err), c.ours())
				}
			}
		})
	}
	t.Run("what cannot be read any more", func(t *testing.T) {
		t.Parallel()
		c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
		c.fault(emulator.Fault{Operation: "DescribeVolumes", Nth: 2, Effect: "refuse", Code: "UnauthorizedOperation"})
		if _, err := c.backend().Create(t.Context(), request("v", 1)); !fault.Is(err, fault.UnknownOutcome) || len(c.ours()) != 1 {
			t.Errorf("Create = %v (%v); in the cloud: %v", err, fault.KindOf(err), c.ours())
		}
	})
}
