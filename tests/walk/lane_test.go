package walk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const gib = int64(1) << 30

// sure is what the model knows of a fact.
type sure int

const (
	no sure = iota
	maybe
	yes
)

func (s sure) String() string { return [...]string{"no", "maybe", "yes"}[s] }

// disk is the model of a volume.
type disk struct {
	name, id string // the id is empty until it was answered
	there    sure
	reused   bool   // another volume had this name
	source   string // the snapshot that it restores
	asked    int64  // GiB
	min, max int64  // GiB it may have
	on       [nodes]sure
	ending   bool      // its deletion was asked for and not answered with OK
	tags     []string  // values that the tag walk may have
	iops     []int32   // of a shared volume, that it may have
	changed  time.Time // when tags or iops were last asked for
	changes  int       // modifications that were requested
	pin      pin
}

// shot is the model of a snapshot.
type shot struct {
	name, id, volume string
	there            sure
	size             int64 // GiB
	ending           bool
	pin              pin
}

func (d *disk) String() string {
	return fmt.Sprintf("volume %s %q there=%s on=%v %d..%d GiB, %d asked, of %q, ending=%t reused=%t", d.name, d.id, d.there, d.on, d.min, d.max, d.asked, d.source, d.ending, d.reused)
}

func (s *shot) String() string {
	return fmt.Sprintf("snapshot %s %q there=%s of %s, ending=%t", s.name, s.id, s.there, s.volume, s.ending)
}

// pin keeps a name at one process until every view of AWS shows what happened to it. Two processes that are asked for a
// name within that time can differ: EC2 has no idempotency token for CreateSnapshot, and nothing tells one process
// that the other has just deleted what EC2 still shows under the name. Kubernetes does neither: its names are UIDs.
type pin struct {
	driver int
	until  time.Time
}

func (p *pin) set(driver int) { *p = pin{driver, time.Now().Add(settled)} }

func (p *pin) holds() bool { return p.held(time.Now()) }

// held says that it held when a request began, however late that was answered.
func (p *pin) held(began time.Time) bool { return began.Before(p.until) }

// lane is one volume after the other and their snapshots, and what may be true of them.
type lane struct {
	*world
	number  int
	made    int // names
	disk    *disk
	shots   [slots]*shot
	twin    *twin
	own     string // id of the lane's instance
	stopped bool
	toggled time.Time
	dead    []string // ids of what was deleted
	history []string
}

func newLane(w *world, number int) *lane {
	l := &lane{world: w, number: number, disk: &disk{}, twin: &twin{}}
	for i := range l.shots {
		l.shots[i] = &shot{}
	}
	return l
}

// node is the id of an instance.
func (l *lane) node(i int) string {
	if i == ownNode {
		return l.own
	}
	return l.emulator.Instances[i].ID
}

func (l *lane) wrong(format string, args ...any) {
	from := max(0, len(l.history)-14)
	l.fail(fmt.Sprintf("lane %d: ", l.number) + fmt.Sprintf(format, args...) +
		fmt.Sprintf("\n  model: %v\n  %v\n  %v\n  %v\n  before:\n    ", l.disk, l.shots[0], l.shots[1], l.twin) +
		strings.Join(l.history[from:], "\n    "))
}

// take makes one step: asks, judges the answers, and compares the model with the truth.
func (l *lane) take(ctx context.Context, s step) {
	s = l.legal(s)
	l.begin(s)
	if s.rival != nil && l.driverOf(*s.rival) == l.driverOf(s) {
		s.rival = nil // the name is kept at one process
	}
	outcomes := []outcome{}
	if s.rival != nil {
		other := make(chan outcome, 1)
		go func() { other <- l.ask(ctx, *s.rival) }()
		outcomes = append(outcomes, l.ask(ctx, s), <-other)
	} else {
		outcomes = append(outcomes, l.ask(ctx, s))
	}
	// What was done is judged before what was refused because of it.
	slices.SortStableFunc(outcomes, func(a, b outcome) int { return int(min(a.code, 1)) - int(min(b.code, 1)) })
	for _, o := range outcomes {
		l.count(o)
		l.history = append(l.history, o.String())
	}
	l.judge(outcomes)
	if s.verb == endNode {
		l.terminated(ctx, outcomes[0])
	}
	truth, err := l.truth(ctx)
	if err != nil {
		l.wrong("the emulator does not tell what is: %v", err)
		return
	}
	l.compare(truth)
}

// legal replaces a step that nobody may take now by the one that must come first: what was begun to be deleted is
// deleted, and a restored volume is finished before its snapshot goes, as Kubernetes' finalizers see to.
func (l *lane) legal(s step) step {
	d, shot := l.disk, l.shots[s.slot]
	alone := func(v verb) step { s.verb, s.rival = v, nil; return s }
	switch {
	case d.ending && d.id != "" && slices.Max(d.on[:]) > no:
		return alone(unpublishAll)
	case d.ending && d.id != "":
		return alone(remove)
	case d.id == "" && d.there == maybe: // it must be found before anything else can be asked
		s = alone(create)
	case s.verb == removeSnapshot && shot.id == "" && shot.there == maybe:
		s = alone(snapshot)
	case s.verb == removeSnapshot && (shot.id == "" || d.there == maybe && d.source == shot.id):
		s = alone(get)
	case s.verb == snapshot && shot.ending:
		return alone(removeSnapshot)
	case s.verb == createOther && d.there != yes:
		s = alone(create)
	}
	s, needsNoVolume := l.legalTwin(s)
	if d.id == "" && !needsNoVolume && s.verb != create && s.verb != list && s.verb != removeSnapshot && s.verb != snapshot {
		s = alone(create)
	}
	if s.verb == snapshot && d.id == "" && shot.there == no {
		s = alone(create)
	}
	return s
}

// begin gives a new volume or snapshot its name, and keeps names at one process while they must be.
func (l *lane) begin(s step) {
	d, source := l.disk, l.shots[s.slot]
	if s.verb == create && d.there == no {
		size := s.grow
		if l.shared() {
			size += 4 // GiB, the least of io2
		}
		next := &disk{name: d.name, reused: true, asked: size, pin: d.pin}
		if !s.flag || d.name == "" {
			l.made++
			next = &disk{name: fmt.Sprintf("walk-%d-%d", l.number, l.made), asked: size}
		}
		if !s.flag && source.there == yes && !source.ending {
			next.source, next.asked = source.id, source.size+size
		}
		l.disk = next
	}
	if s.verb == clone && l.twin.there == no {
		l.made++
		l.twin = &twin{name: fmt.Sprintf("walk-%d-clone-%d", l.number, l.made), source: d.id, asked: d.max}
	}
	if s.verb == snapshot && source.there == no {
		l.made++
		l.shots[s.slot] = &shot{name: fmt.Sprintf("walk-%d-snapshot-%d", l.number, l.made), volume: d.id}
	}
}

// driverOf is the process that a step is sent to.
func (l *lane) driverOf(s step) int {
	switch {
	case s.verb == create && l.disk.pin.holds():
		return l.disk.pin.driver
	case s.verb == snapshot && l.shots[s.slot].pin.holds():
		return l.shots[s.slot].pin.driver
	}
	return s.driver
}

// outcome is what a driver answered.
type outcome struct {
	step   // with the process that was asked
	code   codes.Code
	err    error
	id     string // of the volume or snapshot
	source string
	bytes  int64
	want   int64 // GiB, of expand
	began  time.Time
}

func (o outcome) String() string {
	text := fmt.Sprintf("%s %s: %s %s", o.began.Format("05.000"), o.step, o.code, o.id)
	if o.err != nil {
		text += " " + status.Convert(o.err).Message()
	}
	return text
}

// ask sends the request of a step. It only reads the model.
func (l *lane) ask(ctx context.Context, s step) outcome {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	o := outcome{step: s, began: time.Now()}
	o.driver = l.driverOf(s)
	c, d, shot := l.controllers[o.driver], l.disk, l.shots[s.slot]
	switch s.verb {
	case create, createOther:
		var answer *csi.CreateVolumeResponse
		answer, o.err = c.CreateVolume(ctx, l.createRequest(s))
		o.id, o.bytes = answer.GetVolume().GetVolumeId(), answer.GetVolume().GetCapacityBytes()
	case publish:
		_, o.err = c.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{VolumeId: d.id, NodeId: l.node(s.node), VolumeCapability: l.capability()})
	case unpublish:
		_, o.err = c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: d.id, NodeId: l.node(s.node)})
	case unpublishAll:
		_, o.err = c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: d.id})
	case expand:
		var answer *csi.ControllerExpandVolumeResponse
		o.want = d.min + s.grow
		answer, o.err = c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: d.id, CapacityRange: &csi.CapacityRange{RequiredBytes: o.want * gib},
		})
		o.bytes = answer.GetCapacityBytes()
	case modify:
		_, _, mutable := l.attributes(s)
		_, o.err = c.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{VolumeId: d.id, MutableParameters: mutable})
	case toggleNode:
		l.toggleOwn(ctx)
	case endNode:
		l.askTerminated(ctx, c, &o)
	case clone:
		l.askClone(ctx, c, &o)
	case removeClone:
		_, o.err = c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: l.twin.id})
	case remove:
		_, o.err = c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: d.id})
	case snapshot:
		var answer *csi.CreateSnapshotResponse
		answer, o.err = c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: shot.name, SourceVolumeId: shot.volume})
		made := answer.GetSnapshot()
		o.id, o.source, o.bytes = made.GetSnapshotId(), made.GetSourceVolumeId(), made.GetSizeBytes()
	case removeSnapshot:
		_, o.err = c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: shot.id})
	case get:
		_, o.err = c.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: d.id})
	case list:
		_, o.err = c.ListVolumes(ctx, &csi.ListVolumesRequest{})
	}
	o.code = status.Code(o.err)
	return o
}

func (l *lane) createRequest(s step) *csi.CreateVolumeRequest {
	size := l.disk.asked
	if s.verb == createOther {
		size = l.disk.max + 50
	}
	req := l.newRequest(l.disk.name, size)
	if l.disk.source != "" {
		req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: l.disk.source},
		}}
	}
	return req
}

func (l *lane) newRequest(name string, size int64) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size * gib}, Parameters: l.parameters(),
		VolumeCapabilities: []*csi.VolumeCapability{l.capability()},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{
			{Segments: map[string]string{"topology.kubernetes.io/zone": l.emulator.Instances[0].Zone}},
		}},
	}
}
