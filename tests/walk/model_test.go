package walk

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// transient are the answers that say nothing about what is: the request may be repeated and may have taken effect.
func transient(c codes.Code) bool {
	return c == codes.Aborted || c == codes.Unavailable || c == codes.DeadlineExceeded
}

// judge compares answers with the model, and the model learns from them.
func (l *lane) judge(outcomes []outcome) {
	rivalOf := func(i int) verb {
		if len(outcomes) == 2 {
			return outcomes[1-i].verb
		}
		return ""
	}
	may := make([]bool, len(outcomes)) // by what was true before any of the requests
	for i, o := range outcomes {
		if o.verb == expand || o.verb == modify {
			l.disk.changes++
		}
		may[i] = o.code == codes.OK || transient(o.code) || l.mayRefuse(o, rivalOf(i))
	}
	for i, o := range outcomes {
		if !may[i] && !l.mayRefuse(o, rivalOf(i)) {
			l.wrong("%s must not be answered with %s: %v", o.verb, o.code, o.err)
		}
		learn := map[verb]func(outcome){
			create: l.created, createOther: l.created, publish: l.published, unpublish: l.unpublished, unpublishAll: l.unpublished,
			expand: l.expanded, modify: l.modified, clone: l.cloned, removeClone: l.cloneRemoved, remove: l.removed, snapshot: l.snapshotted, removeSnapshot: l.snapshotRemoved,
		}[o.verb]
		if learn != nil {
			learn(o)
		}
	}
	if len(outcomes) == 2 && slices.ContainsFunc(outcomes, func(o outcome) bool { return o.verb == publish }) &&
		slices.ContainsFunc(outcomes, func(o outcome) bool { return o.verb == unpublish }) {
		l.disk.on[outcomes[0].node] = maybe // whichever came last
	}
}

// mayRefuse reports whether the model allows an answer that says that something is so.
func (l *lane) mayRefuse(o outcome, rival verb) bool {
	d := l.disk
	held := slices.Max(d.on[:]) > no
	type refusal struct {
		code codes.Code
		verb verb
	}
	allowed, known := map[refusal]bool{
		{codes.AlreadyExists, createOther}: true,
		{codes.NotFound, createOther}:      d.source != "", // or so, where the snapshot that it was restored from is gone

		{codes.NotFound, publish}:  d.there != yes || rival == remove,
		{codes.NotFound, expand}:   d.there != yes,
		{codes.NotFound, modify}:   d.there != yes,
		{codes.NotFound, clone}:    d.there != yes || d.id != l.twin.source,
		{codes.NotFound, get}:      d.there != yes,
		{codes.NotFound, snapshot}: d.there != yes || d.id != l.shots[o.slot].volume,

		// Held by another node, or in no state to be used.
		{codes.FailedPrecondition, publish}:  held && !l.shared() && d.on[o.node] < yes || d.there != yes || rival == publish || rival == remove || l.changing(o.node),
		{codes.FailedPrecondition, remove}:   held || rival == publish,
		{codes.FailedPrecondition, expand}:   d.there != yes || d.refusesChange(o),
		{codes.FailedPrecondition, modify}:   d.there != yes || d.refusesChange(o),
		{codes.FailedPrecondition, clone}:    held || d.there != yes || d.id != l.twin.source, // the source is in use
		{codes.FailedPrecondition, snapshot}: d.there != yes,

		{codes.ResourceExhausted, publish}: d.on[o.node] < yes, // the node is full
	}[refusal{o.code, o.verb}]
	return known && allowed
}

// refusesChange reports whether EC2 may refuse the change: another one still runs, or those of the day are used up. A lost
// answer may have cost two.
func (d *disk) refusesChange(o outcome) bool {
	text := o.err.Error()
	return d.changes >= 2 && strings.Contains(text, "EC2 is still changing the volume") ||
		d.changes >= 3 && strings.Contains(text, "VolumeModificationRateExceeded")
}

func (l *lane) created(o outcome) {
	d := l.disk
	switch {
	case o.code == codes.OK && o.verb == createOther:
		l.wrong("a volume of another size was accepted under a name that exists")
	case o.code == codes.OK:
		l.madeVolume(o)
	case transient(o.code) && d.there == no:
		d.there = maybe
	}
}

func (l *lane) madeVolume(o outcome) {
	d := l.disk
	switch {
	case slices.Contains(l.dead, o.id):
		l.wrong("%s was deleted and is answered again", o.id)
	case d.there == yes && o.id != d.id:
		l.wrong("%s and %s are answered for one name", d.id, o.id)
	case o.id != d.id:
		if d.id != "" {
			l.dead = append(l.dead, d.id)
		}
		d.id, d.min, d.max, d.on = o.id, d.asked, d.asked, [nodes]sure{}
		d.changes = 0
		d.tags, d.iops = []string{""}, []int32{leastIOPS}
	}
	d.there, d.ending = yes, false
	if size := o.bytes / gib; size < d.min || size > d.max {
		l.wrong("%s is answered with %d GiB, it has %d to %d", d.id, size, d.min, d.max)
	}
}

func (l *lane) published(o outcome) {
	d := l.disk
	elsewhere := slices.Clone(d.on[:])
	elsewhere[o.node] = no
	if l.shared() {
		elsewhere = nil
	}
	switch {
	case o.code == codes.OK && d.there == no:
		l.wrong("a volume that does not exist was published")
	case o.code == codes.OK && slices.Contains(elsewhere, yes):
		l.wrong("a volume was published to a second node")
	case o.code == codes.OK:
		if !l.shared() {
			d.on = [nodes]sure{}
		}
		d.there, d.on[o.node] = yes, yes
	case transient(o.code) && d.there != no && d.on[o.node] == no && !slices.Contains(elsewhere, yes):
		d.on[o.node] = maybe
	}
}

func (l *lane) unpublished(o outcome) {
	for n := range l.disk.on {
		if o.verb == unpublish && n != o.node {
			continue
		}
		switch {
		case o.code == codes.OK:
			l.disk.on[n] = no
		case l.disk.on[n] == yes:
			l.disk.on[n] = maybe
		}
	}
}

func (l *lane) expanded(o outcome) {
	d := l.disk
	switch {
	case o.code == codes.OK && d.there == no && d.pin.held(o.began) && o.want <= d.max:
		// EC2 still showed it, and large enough: nothing was asked for.
	case o.code == codes.OK && d.there == no:
		l.wrong("a volume that does not exist was expanded")
	case o.code == codes.OK && o.bytes/gib < o.want:
		l.wrong("expanded to %d GiB, %d were asked for", o.bytes/gib, o.want)
	case o.code == codes.OK:
		d.there = yes
		d.min, d.max = max(d.min, o.bytes/gib), max(d.max, o.bytes/gib)
	default:
		d.max = max(d.max, o.want)
	}
}

func (l *lane) removed(o outcome) {
	d := l.disk
	switch {
	case o.code == codes.OK && slices.Contains(d.on[:], yes):
		l.wrong("%s was deleted although it is published", d.id)
	case o.code == codes.OK:
		if d.there != no {
			l.dead = append(l.dead, d.id)
		}
		d.there, d.on, d.ending = no, [nodes]sure{}, false
		d.pin.set(o.driver)
	case d.there != no && !slices.Contains(d.on[:], yes):
		d.there, d.ending = maybe, true
	}
}

func (l *lane) snapshotted(o outcome) {
	s := l.shots[o.slot]
	s.pin.set(o.driver)
	switch {
	case o.code == codes.OK && slices.Contains(l.dead, o.id):
		l.wrong("%s was deleted and is answered again", o.id)
	case o.code == codes.OK && s.id != "" && s.id != o.id:
		l.wrong("%s and %s are answered for one name", s.id, o.id)
	case o.code == codes.OK && o.source != s.volume:
		l.wrong("%s is of %s, %s was asked for", o.id, o.source, s.volume)
	case o.code == codes.OK:
		s.id, s.there, s.size = o.id, yes, o.bytes/gib
	case o.code == codes.NotFound:
		s.there = no
	case s.there == no:
		s.there = maybe
	}
}

func (l *lane) snapshotRemoved(o outcome) {
	s := l.shots[o.slot]
	switch {
	case o.code == codes.OK:
		if s.there != no {
			l.dead = append(l.dead, s.id)
		}
		*s = shot{}
	case s.there != no:
		s.there, s.ending = maybe, true
	}
}

// compare holds what the model is sure of against what is.
func (l *lane) compare(truth harness.Truth) {
	d, named := l.disk, map[string]string{}
	var mine *harness.TrueVolume
	for i, v := range truth.Volumes {
		name := v.Tags["CSIVolumeName"]
		if !strings.HasPrefix(name, l.prefix()) || v.State == "deleting" {
			continue
		}
		if other := named[name]; other != "" {
			l.wrong("%s and %s have one name", other, v.ID)
		}
		if slices.Contains(l.dead, v.ID) {
			l.wrong("%s is there although its deletion was answered with OK", v.ID)
		}
		named[name] = v.ID
		if name == d.name {
			mine = &truth.Volumes[i]
		}
	}
	switch {
	case mine == nil && d.there == yes:
		l.wrong("%s is gone", d.id)
	case mine != nil && d.there == no && d.name != "":
		l.wrong("%s is there under the name of a volume that is not", mine.ID)
	case mine != nil && d.there == yes:
		l.compareVolume(*mine)
	}
	l.compareTwin(named)
	l.compareSnapshots(truth)
}

func (l *lane) prefix() string { return fmt.Sprintf("walk-%d-", l.number) }

func (l *lane) compareVolume(v harness.TrueVolume) {
	d := l.disk
	if v.ID != d.id {
		l.wrong("%s was answered, %s is there", d.id, v.ID)
	}
	if v.SizeGiB < d.min || v.SizeGiB > d.max {
		l.wrong("%s has %d GiB, and should have %d to %d", v.ID, v.SizeGiB, d.min, d.max)
	}
	l.compareAttributes(v)
	for n, is := range d.on {
		switch a, on := v.On(l.node(n)); {
		case is == yes && (!on || a.State != "attached"):
			l.wrong("%s is published to node %d, and EC2 says %q", v.ID, n, a.State)
		case is == no && on:
			l.wrong("%s is not published to node %d, and EC2 says %q", v.ID, n, a.State)
		}
	}
}

func (l *lane) compareSnapshots(truth harness.Truth) {
	named := map[string]string{}
	for _, s := range truth.Snapshots {
		name := s.Tags["CSIVolumeSnapshotName"]
		if !strings.HasPrefix(name, l.prefix()) {
			continue
		}
		if other := named[name]; other != "" {
			l.wrong("%s and %s have one name", other, s.ID)
		}
		if slices.Contains(l.dead, s.ID) {
			l.wrong("%s is there although its deletion was answered with OK", s.ID)
		}
		named[name] = s.ID
	}
	for _, s := range l.shots {
		if is := named[s.name]; s.there == yes && is != s.id || s.there == no && s.name != "" && is != "" {
			l.wrong("snapshot %s: %q was answered, %q is there", s.name, s.id, is)
		}
	}
}
