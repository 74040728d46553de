package ebs

import (
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
)

// waits are the rhythms in which EC2 is asked how far it is.
type waits struct {
	created, attached, detached, modified *batch.Rhythm
}

// newWaits begins with what EC2 hardly ever does faster; what it really takes is learned.
// An emulator whose clock runs faster says so by its interval.
func newWaits(absence time.Duration) waits {
	t := batch.NewTempo()
	usual := func(d time.Duration) *batch.Rhythm {
		return t.Rhythm(time.Duration(float64(d) * float64(absence) / float64(ec2.AbsenceInterval)))
	}
	return waits{
		created:  usual(850 * time.Millisecond),
		attached: usual(680 * time.Millisecond),
		detached: usual(850 * time.Millisecond),
		modified: usual(850 * time.Millisecond),
	}
}
