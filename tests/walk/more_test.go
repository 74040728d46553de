package walk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// Every fourth lane shares its volume: a raw one of type io2, published to several nodes at one time.
const (
	sharedType = "io2"
	leastIOPS  = 100
)

func (l *lane) shared() bool { return l.number%4 == 3 }

func (l *lane) capability() *csi.VolumeCapability {
	if l.shared() {
		return &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
		}
	}
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

// parameters are those of a new volume.
func (l *lane) parameters() map[string]string {
	if l.shared() {
		return map[string]string{"type": sharedType, "iops": fmt.Sprint(leastIOPS)}
	}
	return nil
}

// attributes are what Modify asks for: a tag, and of a shared volume its operations per second too.
func (l *lane) attributes(s step) (tag string, iops int32, mutable map[string]string) {
	tag = fmt.Sprint(s.node*10 + int(s.grow))
	mutable = map[string]string{"tagSpecification_1": "walk=" + tag}
	if l.shared() {
		iops = leastIOPS * int32(s.grow) //nolint:gosec // at most 4
		mutable["iops"] = fmt.Sprint(iops)
	}
	return tag, iops, mutable
}

// modified narrows what the volume's attributes can be, or widens it where the outcome is unknown.
func (l *lane) modified(o outcome) {
	d := l.disk
	tag, iops, _ := l.attributes(o.step)
	if o.code == codes.OK && d.there == no && !d.pin.held(o.began) {
		l.wrong("a volume that does not exist was modified")
	}
	// Right after a change EC2 may still show what was before: where that is what is asked for, nothing is done. Kubernetes
	// asks for one thing at a time, and not again within seconds.
	if o.code == codes.OK && o.began.Sub(d.changed) > settled {
		d.tags, d.iops = nil, nil
	}
	d.tags, d.iops, d.changed = append(d.tags, tag), append(d.iops, iops), time.Now()
}

func (l *lane) compareAttributes(v harness.TrueVolume) {
	if d := l.disk; !slices.Contains(d.tags, v.Tags["walk"]) || l.shared() && !slices.Contains(d.iops, v.IOPS) {
		l.wrong("%s has tag %q and %d IOPS, and should have one of %q and %d", v.ID, v.Tags["walk"], v.IOPS, d.tags, d.iops)
	}
}

// twin is the model of a clone of the lane's volume.
type twin struct {
	name, id, source string
	there            sure
	asked            int64 // GiB
	ending           bool
}

func (c *twin) String() string {
	return fmt.Sprintf("clone %s %q there=%s of %s, %d GiB, ending=%t", c.name, c.id, c.there, c.source, c.asked, c.ending)
}

func (l *lane) askClone(ctx context.Context, c csi.ControllerClient, o *outcome) {
	req := l.newRequest(l.twin.name, l.twin.asked)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: l.twin.source},
	}}
	var answer *csi.CreateVolumeResponse
	answer, o.err = c.CreateVolume(ctx, req)
	o.id, o.bytes = answer.GetVolume().GetVolumeId(), answer.GetVolume().GetCapacityBytes()
}

func (l *lane) cloned(o outcome) {
	c := l.twin
	switch {
	case o.code == codes.OK && (slices.Contains(l.dead, o.id) || c.id != "" && c.id != o.id || o.bytes/gib < c.asked):
		l.wrong("%s with %d GiB is answered for %v", o.id, o.bytes/gib, c)
	case o.code == codes.OK:
		c.id, c.there = o.id, yes
	case o.code == codes.NotFound:
		c.there = no // and its source is not either
	case c.there == no && o.code != codes.FailedPrecondition:
		c.there = maybe
	}
}

func (l *lane) cloneRemoved(o outcome) {
	c := l.twin
	switch {
	case o.code == codes.OK:
		l.dead = append(l.dead, c.id)
		*c = twin{}
	case c.there != no:
		c.there, c.ending = maybe, true
	}
}

// compareTwin holds the clone against what is under its name.
func (l *lane) compareTwin(named map[string]string) {
	c := l.twin
	is := named[c.name]
	if c.there == yes && is != c.id || c.there == no && c.name != "" && is != "" {
		l.wrong("%v: %q is there", c, is)
	}
}

// legalTwin replaces a step about the clone that nobody may take now.
func (l *lane) legalTwin(s step) (step, bool) {
	c := l.twin
	alone := func(v verb) (step, bool) { s.verb, s.rival = v, nil; return s, true }
	switch {
	case s.verb == clone && c.ending, s.verb == clone && c.there == yes:
		return alone(removeClone)
	case s.verb == removeClone && c.there == maybe && c.id == "":
		return alone(clone)
	case s.verb == removeClone && c.there == no:
		return alone(list)
	}
	return s, strings.Contains(string(s.verb), "clone") && c.there != no
}
