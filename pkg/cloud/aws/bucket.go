package aws

import "time"

// rate is a token bucket that AWS keeps for one action: how many requests it holds
// and how many come back per second.
type rate struct{ burst, perSecond float64 }

// documented is AWS's default rate for an action; accounts may have more or less.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
func documented(a action) rate {
	switch {
	case a.service != "EC2":
		return rate{1000, 100} // unknown here; AWS will say
	case !a.changes():
		return rate{100, 20}
	}
	switch a.operation {
	case "CreateVolume", "CopyVolumes", "DeleteVolume", "AttachVolume", "DetachVolume", "ModifyVolume",
		"CreateSnapshot", "CreateSnapshots", "DeleteSnapshot":
		return rate{100, 5}
	}
	return rate{50, 5}
}

const (
	// weight is that of the newest answer in the share of refusals, and many the share
	// from which on the bucket is believed to be empty although it should not be: three
	// refusals in a row. AWS refuses a few per cent also for reasons of its own. Where
	// more is tried than AWS was seen to keep up with, it is some: two.
	weight, many, some = 0.1, 0.25, 0.15
	// shortCalm and longCalm are how long AWS must refuse nothing before it is asked a
	// little faster: below its documented rate short at first, twice as long whenever
	// that was in vain, up to some seconds; above it always long.
	shortCalm, someCalm, longCalm = 2 * time.Second, 10 * time.Second, 30 * time.Second
)

// bucket is what can be known here of a token bucket that AWS keeps: it begins as
// documented, and only refusals tell where it differs or is shared with others.
type bucket struct {
	standard rate
	tokens   float64
	asOf     time.Time
	window   int // requests at one time that are risked without a token

	limited  bool          // AWS's bucket was empty: nothing goes out without a token any more
	share    float64       // of refusals among the latest answers to what should have had a token
	pace     float64       // tokens that come back per second
	proven   float64       // the pace that AWS is believed to keep up with
	believed time.Time     // when a refusal was last believed
	faster   time.Time     // when a higher pace may be tried
	calm     time.Duration // of the next wait for that, below the documented pace
}

func newBucket(r rate, now time.Time) bucket {
	return bucket{standard: r, tokens: r.burst, asOf: now, window: firstWindow, pace: r.perSecond, proven: r.perSecond, calm: shortCalm}
}

// take reports whether a request may go now; if not, wait is when to look again, or 0
// where one that leaves will tell.
func (b *bucket) take(t *ticket, inFlight int) (wait time.Duration, ok bool) {
	now := t.sent
	b.tokens = min(b.standard.burst, b.tokens+now.Sub(b.asOf).Seconds()*b.pace)
	b.asOf = now
	if b.limited && b.tokens >= b.standard.burst && inFlight == 0 { // AWS's is full again
		*b = newBucket(b.standard, now)
	}
	if b.limited {
		b.speedUp(now)
	}
	switch {
	case b.tokens >= 1:
	case b.limited:
		return time.Duration((1-b.tokens)/b.pace*float64(time.Second)) + time.Nanosecond, false
	case inFlight >= b.window:
		return 0, false
	}
	t.risked = b.tokens < 1 || b.pace > b.standard.perSecond
	b.tokens = max(0, b.tokens-1)
	return 0, true
}

// speedUp tries a little more with every second after the calm.
func (b *bucket) speedUp(now time.Time) {
	if now.Before(b.faster) {
		return
	}
	b.faster = now.Add(time.Second)
	if b.pace >= b.standard.perSecond {
		b.pace *= 1.05
		return
	}
	if b.pace *= 1.1; b.pace >= b.standard.perSecond {
		b.pace, b.proven, b.calm = b.standard.perSecond, b.standard.perSecond, shortCalm
		b.faster = now.Add(longCalm)
	}
}

// took learns from a request that AWS took.
func (b *bucket) took(t *ticket) {
	b.share *= 1 - weight
	if t.risked && !b.limited {
		b.window = min(b.window+1, maxInFlight)
	}
}

// refused learns from a refusal. One of what was sent before the last that was believed
// says nothing new.
func (b *bucket) refused(t *ticket, now time.Time) {
	if t.sent.Before(b.believed) {
		return
	}
	if !t.risked && !b.believe() {
		if b.limited { // AWS may take but a little less
			b.pace = b.atLeast(0.98 * b.pace)
			b.proven = min(b.proven, b.pace)
		}
		return
	}
	switch {
	case !b.limited: // the first: nothing says that the bucket refills slower
		b.pace, b.faster = b.standard.perSecond, now.Add(longCalm)
	case b.pace > b.proven: // back to what was good
		b.slowDown(now, max(b.proven, 0.75*b.pace))
	case b.pace > b.standard.perSecond:
		b.slowDown(now, max(b.standard.perSecond, 0.85*b.pace))
	default:
		b.slowDown(now, b.atLeast(0.85*b.pace))
	}
	b.limited, b.believed, b.share, b.window = true, now, 0, firstWindow
	b.tokens, b.asOf = -0.5, now // half a token more than AWS needs, since requests do not arrive evenly
}

// believe counts a refusal of what should have had a token, and reports whether there
// are too many for chance.
func (b *bucket) believe() bool {
	b.share += weight * (1 - b.share)
	if b.pace > b.proven {
		return b.share > some
	}
	return b.share > many
}

// atLeast keeps a pace from falling to nothing.
func (b *bucket) atLeast(pace float64) float64 { return max(pace, b.standard.perSecond/10) }

func (b *bucket) slowDown(now time.Time, pace float64) {
	b.pace, b.proven = pace, pace
	if pace >= b.standard.perSecond {
		b.faster = now.Add(longCalm)
		return
	}
	b.faster = now.Add(b.calm)
	b.calm = min(2*b.calm, someCalm)
}
