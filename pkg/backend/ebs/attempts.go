package ebs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// EC2 takes at most four modifications of a volume in a rolling 24 hours, and whether it counts those that end as "failed"
// is not documented: it is assumed here. Kubernetes' resizer repeats a failed change every few seconds.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
const (
	maxModifications   = 4
	modificationWindow = 24 * time.Hour
	// firstHoldOff is how long a target that failed is not requested again; each further failure makes it longer.
	firstHoldOff  = 15 * time.Minute
	holdOffGrowth = 8
)

// TagModifications lists a volume's modifications of the last 24 hours but the newest: DescribeVolumesModifications shows
// only that one. It is written when a second one of the day is requested.
const TagModifications = "diskbridge.io/modifications"

const modificationFailed = "failed"

// attempt is a modification that EC2 took.
type attempt struct {
	started time.Time
	target  ec2.Change
	failed  bool
}

func attemptOf(m ec2.Modification) attempt {
	return attempt{started: m.Started, target: m.Target, failed: m.State == modificationFailed}
}

// String is the attempt as the tag has it: Unix milliseconds, type, GiB, iops, MiB/s.
func (a attempt) String() string {
	text := fmt.Sprintf("%d:%s/%d/%d/%d", a.started.UnixMilli(), a.target.Type, a.target.SizeGiB, a.target.IOPS, a.target.Throughput)
	if a.failed {
		text += ":" + modificationFailed
	}
	return text
}

// parseAttempt reads what String writes; ok is false for anything else, since users can change tags.
func parseAttempt(text string) (a attempt, ok bool) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return a, false
	}
	shape := strings.Split(parts[1], "/")
	if len(shape) != 4 {
		return a, false
	}
	var numbers [4]int64
	for i, digits := range []string{parts[0], shape[1], shape[2], shape[3]} {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || i > 0 && n > 1<<30 {
			return a, false
		}
		numbers[i] = n
	}
	a = attempt{
		started: time.UnixMilli(numbers[0]),
		target:  ec2.Change{Type: shape[0], SizeGiB: numbers[1], IOPS: int32(numbers[2]), Throughput: int32(numbers[3])}, //nolint:gosec // bounded above
		failed:  len(parts) == 3 && parts[2] == modificationFailed,
	}
	return a, true
}

// attempts are the known modifications of the last 24 hours, the oldest first.
type attempts []attempt

// recall joins what the tag says and the newest modification, if there is one.
func recall(tag string, newest ec2.Modification, found bool, now time.Time) attempts {
	var out attempts
	if found {
		out = append(out, attemptOf(newest))
	}
	for _, text := range strings.Fields(tag) {
		a, ok := parseAttempt(text)
		if ok && !slices.ContainsFunc(out, func(b attempt) bool { return a.started.UnixMilli() == b.started.UnixMilli() }) {
			out = append(out, a)
		}
	}
	out = slices.DeleteFunc(out, func(a attempt) bool { return now.Sub(a.started) >= modificationWindow })
	slices.SortFunc(out, func(a, b attempt) int { return a.started.Compare(b.started) })
	return out[max(0, len(out)-maxModifications):]
}

// tag is what is written to the volume.
func (list attempts) tag() string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

// heldUntil says until when a change is not requested, since a modification to the same target has failed: for a time that
// grows with each failure, and never with the last modification that EC2 takes in 24 hours, which is the user's. held is
// false where no such modification is known.
func (list attempts) heldUntil(want ec2.Change) (until time.Time, last attempt, held bool) {
	holdOff := firstHoldOff / holdOffGrowth
	for _, a := range list {
		if a.failed && sameTarget(a.target, want) {
			last, held = a, true
			holdOff *= holdOffGrowth
		}
	}
	if !held {
		return until, last, false
	}
	until = last.started.Add(holdOff)
	if i := len(list) - (maxModifications - 1); i >= 0 {
		until = latest(until, list[i].started.Add(modificationWindow))
	}
	return until, last, true
}

// freeAt is when EC2 takes a modification again after it has refused one for their number.
func (list attempts) freeAt() time.Time {
	return list[max(0, len(list)-maxModifications)].started.Add(modificationWindow)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sameTarget reports whether a modification had everything of the wish as its target.
func sameTarget(target, want ec2.Change) bool {
	return (want.Type == "" || target.Type == want.Type) && (want.SizeGiB == 0 || target.SizeGiB == want.SizeGiB) &&
		(want.IOPS == 0 || target.IOPS == want.IOPS) && (want.Throughput == 0 || target.Throughput == want.Throughput)
}

// mayRequest is the error for a change that is not to be requested now. What EC2 will no longer show once it takes the
// next modification is written to the volume's tag first.
func (b *Backend) mayRequest(ctx context.Context, op string, v ec2.Volume, want ec2.Change, known attempts) error {
	until, last, repeats := known.heldUntil(want)
	if repeats && time.Now().Before(until) {
		return heldOff(op, v.ID, last, until, "")
	}
	tag := known.tag()
	if tag == "" || tag == v.Tags[TagModifications] {
		return nil
	}
	if err := b.setTags(ctx, op, v.ID, map[string]string{TagModifications: tag}); err != nil && repeats {
		return fault.Explain(err, "without that tag the failed modification is not requested again")
	}
	return nil // what the user asks for is not held up where the tags cannot be written
}

// heldOff says of a target that failed when it is requested again. message is what EC2 says of the failure, where it is known.
func heldOff(op, id string, failed attempt, until time.Time, message string) error {
	if message != "" {
		message = ": " + message
	}
	return fault.New(fault.FailedPrecondition, op, id,
		"EC2 could not change the volume to %s, and it is as it was (begun %s%s). The same change is not requested again before %s, "+
			"since EC2 takes %d changes of a volume in 24 hours; another size or class is tried at once",
		describeTarget(failed.target), stamp(failed.started), message, stamp(until), maxModifications)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// failedModification is a modification that EC2 took and then ended as "failed".
type failedModification struct{ ec2.Modification }

// Error implements error.
func (f failedModification) Error() string { return "EC2 took the change at " + stamp(f.Started) }
