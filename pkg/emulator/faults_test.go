package emulator_test

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
)

func (c *cloud) fault(f emulator.Fault) {
	c.t.Helper()
	if err := c.AddFaults(f); err != nil {
		c.t.Fatal(err)
	}
}

func TestFaults_beforeAndAfterTheWork(t *testing.T) {
	for name, row := range map[string]struct {
		fault emulator.Fault
		code  string
		done  int
		count emulator.Count
	}{
		"refuse":             {emulator.Fault{Effect: faults.Refuse}, "InternalError", 0, emulator.Count{Error: 1}},
		"refuse with a code": {emulator.Fault{Effect: faults.Refuse, Code: "UnauthorizedOperation"}, "UnauthorizedOperation", 0, emulator.Count{Error: 1}},
		"throttle":           {emulator.Fault{Effect: faults.Throttle}, "RequestLimitExceeded", 0, emulator.Count{Throttled: 1}},
		"fail after":         {emulator.Fault{Effect: faults.FailAfter, Code: "Unavailable"}, "Unavailable", 1, emulator.Count{Error: 1}},
		"drop the reply":     {emulator.Fault{Effect: faults.DropReply}, "no code", 1, emulator.Count{Error: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, emulator.Options{})
			row.fault.Operation, row.fault.Nth = "CreateVolume", 1
			c.fault(row.fault)
			_, err := c.ec2.CreateVolume(c.ctx, newVolume())
			c.wantCode(err, row.code)
			if n := len(c.State().Volumes); n != row.done {
				t.Errorf("%d volumes, want %d", n, row.done)
			}
			if n := c.Calls()["CreateVolume"]; n != row.count {
				t.Errorf("counts %+v, want %+v", n, row.count)
			}
			if live := c.Faults(); len(live) != 0 {
				t.Errorf("the fault is used up but still there: %+v", live)
			}
			c.createVolume()
		})
	}
}

func TestFaults_nthOfItsOperation(t *testing.T) {
	c := start(t, emulator.Options{})
	c.createVolume() // before the fault is set: not counted
	c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 2, Effect: faults.Refuse})
	must(c.sts.GetCallerIdentity(c.ctx, &sts.GetCallerIdentityInput{}))(c)
	c.createVolume()
	_, err := c.ec2.CreateVolume(c.ctx, newVolume())
	c.wantCode(err, "InternalError")
	c.createVolume()
	c.fault(emulator.Fault{Operation: "sts:GetCallerIdentity", Nth: 1, Effect: faults.Throttle})
	_, err = c.sts.GetCallerIdentity(c.ctx, &sts.GetCallerIdentityInput{})
	c.wantCode(err, "Throttling")
}

func TestFaults_ofOneValueOnly(t *testing.T) {
	c := start(t, emulator.Options{})
	spared, met := c.createVolume(), c.createVolume()
	c.fault(emulator.Fault{Operation: "DeleteVolume", Value: met, Nth: 2, Effect: faults.Refuse, Code: "UnauthorizedOperation"})
	c.fault(emulator.Fault{Operation: "efs:CreateFileSystem", Value: "this-one", Effect: faults.Refuse})
	c.wantCode(c.deleteVolume("vol-0123456789abcdef0"), "InvalidVolume.NotFound") // not counted
	if err := c.deleteVolume(spared); err != nil {
		t.Errorf("a volume that the fault does not name: %v", err)
	}
	if _, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{met}}); err != nil {
		t.Errorf("an operation that the fault does not name: %v", err)
	}
	dry := true
	_, err := c.ec2.DeleteVolume(c.ctx, &ec2.DeleteVolumeInput{VolumeId: &met, DryRun: &dry})
	c.wantCode(err, "DryRunOperation")
	c.wantCode(c.deleteVolume(met), "UnauthorizedOperation")
	for token, code := range map[string]string{"this-one": "InternalServerError", "another": ""} {
		_, err := c.fileSystem(token, nil)
		c.wantCode(err, code)
	}
}

func TestFaults_probabilityIsFixedBySeed(t *testing.T) {
	run := func(seed int64) (outcome [60]bool, failed int) {
		c := start(t, emulator.Options{Seed: seed})
		c.fault(emulator.Fault{Operation: "*", Probability: .5, Effect: faults.Refuse})
		for n := range outcome {
			if err := c.deleteVolume("vol-0123456789abcdef0"); code(err) == "InternalError" {
				outcome[n] = true
				failed++
			}
		}
		return outcome, failed
	}
	first, failed := run(3)
	if again, _ := run(3); first != again {
		t.Error("one seed, two outcomes")
	}
	if failed < 15 || failed > 45 {
		t.Errorf("%d of 60 failed, want about half", failed)
	}
}

func TestFaults_hold(t *testing.T) {
	for phase, done := range map[faults.Effect]int{faults.HoldBefore: 0, faults.HoldAfter: 1} {
		t.Run(string(phase), func(t *testing.T) {
			c := start(t, emulator.Options{})
			c.fault(emulator.Fault{Operation: "CreateVolume", Effect: phase})
			held := func(ctx context.Context) <-chan error {
				result := make(chan error, 1)
				go func() {
					_, err := c.ec2.CreateVolume(ctx, newVolume())
					result <- err
				}()
				if err := c.WaitHeld(ctx, "CreateVolume"); err != nil {
					t.Fatal(err)
				}
				return result
			}
			released := held(c.ctx)
			if n := len(c.State().Volumes); n != done {
				t.Errorf("%d volumes while held, want %d", n, done)
			}
			if n := c.Release("AttachVolume"); n != 0 {
				t.Errorf("%d calls of another operation released", n)
			}
			if n := c.Release("CreateVolume"); n != 1 {
				t.Errorf("%d calls released, want 1", n)
			}
			if err := <-released; err != nil {
				t.Error(err)
			}

			ctx, kill := context.WithCancel(c.ctx)
			killed := held(ctx)
			kill()
			if err := <-killed; err == nil {
				t.Error("a killed call succeeded")
			}
			c.until("the killed call is let go", func() bool { return len(c.Held()) == 0 })
			if n := len(c.State().Volumes); n != 1+done {
				t.Errorf("%d volumes after the caller was killed, want %d", n, 1+done)
			}

			reset := held(c.ctx)
			if err := c.Reset(c.ctx); err != nil {
				t.Fatal(err)
			}
			if err := <-reset; err == nil {
				t.Error("a call that was held at a reset succeeded")
			}
			if n := len(c.State().Volumes); n != 0 {
				t.Errorf("%d volumes after the reset, want none", n)
			}
			if live := c.Faults(); len(live) != 0 {
				t.Errorf("faults after reset: %+v", live)
			}
		})
	}
}

func TestFaults_delay(t *testing.T) {
	c := start(t, emulator.Options{})
	c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: faults.Delay, DelayMS: 3_600_000})
	result := make(chan error, 1)
	go func() {
		_, err := c.ec2.CreateVolume(c.ctx, newVolume())
		result <- err
	}()
	c.until("the call has met the fault", func() bool { return len(c.Faults()) == 0 })
	if n := len(c.State().Volumes); n != 0 {
		t.Error("the call was not delayed")
	}
	if err := c.SetSpeed(1e6); err != nil { // the hour takes 4 ms
		t.Fatal(err)
	}
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the call never ended")
	}
}

func TestFaults_lateIsDoneThoughTheCallerHasLeft(t *testing.T) {
	c := start(t, emulator.Options{})
	ctx, leave := context.WithCancel(c.ctx)
	result := make(chan error, 1)
	c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: faults.Late, DelayMS: 3_600_000})
	go func() {
		_, err := c.ec2.CreateVolume(ctx, newVolume())
		result <- err
	}()
	c.until("the call has met the fault", func() bool { return len(c.Faults()) == 0 })
	leave()
	if err := <-result; err == nil {
		t.Error("the caller that left has an answer")
	}
	if n := len(c.State().Volumes); n != 0 {
		t.Errorf("%d volumes before the hour is over", n)
	}
	if err := c.SetSpeed(1e6); err != nil { // the hour takes 4 ms
		t.Fatal(err)
	}
	c.until("it is done without its caller", func() bool { return len(c.State().Volumes) == 1 })
}

func TestFaults_lateWithAPatientCaller(t *testing.T) {
	c := start(t, emulator.Options{})
	if err := c.SetSpeed(1); err != nil {
		t.Fatal(err)
	}
	c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: faults.Late, DelayMS: 10})
	c.createVolume()
}

func TestFaults_closingEndsWhatIsLate(t *testing.T) {
	c := start(t, emulator.Options{})
	c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: faults.Late, DelayMS: 3_600_000})
	result := make(chan error, 1)
	go func() {
		_, err := c.ec2.CreateVolume(c.ctx, newVolume())
		result <- err
	}()
	c.until("the call has met the fault", func() bool { return len(c.Faults()) == 0 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err == nil {
		t.Error("it was done though the emulator closed")
	}
}

func TestAddFaults_refusesNonsense(t *testing.T) {
	c := start(t, emulator.Options{})
	for name, f := range map[string]emulator.Fault{
		"no operation":     {Effect: faults.Refuse},
		"unknown effect":   {Operation: "X", Effect: "explode"},
		"negative nth":     {Operation: "X", Effect: faults.Refuse, Nth: -1},
		"probability of 2": {Operation: "X", Effect: faults.Refuse, Probability: 2},
		"both":             {Operation: "X", Effect: faults.Refuse, Probability: .5, Nth: 1},
		"delay of nothing": {Operation: "X", Effect: faults.Delay},
		"value in S3":      {Operation: "s3:PutObject", Effect: faults.Refuse, Value: "key"},
		"late by nothing":  {Operation: "X", Effect: faults.Late},
	} {
		if err := c.AddFaults(emulator.Fault{Operation: "Y", Effect: faults.Refuse}, f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if live := c.Faults(); len(live) != 0 {
		t.Errorf("some were set: %+v", live)
	}
}

func TestFaults_whatIsAcceptedFailsLater(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	c.fault(emulator.Fault{Operation: "ModifyVolume", Nth: 1, Effect: faults.FailLater})
	c.fault(emulator.Fault{Operation: "CreateSnapshot", Nth: 1, Effect: faults.FailLater})
	id := c.createVolume()
	c.advance(2 * time.Second)
	if err := c.modify(id, size(20)); err != nil {
		t.Fatal(err)
	}
	snapshot := c.createSnapshot(id)
	if m, s := c.modification(id), c.snapshot(snapshot); m.ModificationState != "modifying" || s.State != "pending" {
		t.Errorf("at first %s and %s", m.ModificationState, s.State)
	}
	c.advance(time.Hour)
	if m := c.modification(id); m.ModificationState != "failed" || m.EndTime == nil || m.StatusMessage == nil || *c.volume(id).Size != 10 {
		t.Errorf("modification %+v of %d GiB", m, *c.volume(id).Size)
	}
	if s := c.snapshot(snapshot); s.State != "error" || s.CompletionTime != nil || s.StateMessage == nil {
		t.Errorf("snapshot %+v", s)
	}
	if err := c.modify(id, size(20)); err != nil {
		t.Errorf("after a failure: %v", err)
	}
	if err := c.deleteSnapshot(snapshot); err != nil {
		t.Errorf("delete what failed: %v", err)
	}
	if err := c.AddFaults(emulator.Fault{Operation: "AttachVolume", Effect: faults.FailLater}); err == nil {
		t.Error("an attachment cannot fail later")
	}
}
