package ebs

import (
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
)

// waits are the rhythms in which EC2 is asked how far it is.
type waits struct {
	created, attached, detached, modified *batch.Rhythm
}

// newWaits begins with what EC2 hardly ever does faster; what it really takes is learned.
func newWaits() waits {
	t := batch.NewTempo()
	return waits{
		created:  t.Rhythm(850 * time.Millisecond),
		attached: t.Rhythm(680 * time.Millisecond),
		detached: t.Rhythm(850 * time.Millisecond),
		modified: t.Rhythm(850 * time.Millisecond),
	}
}
