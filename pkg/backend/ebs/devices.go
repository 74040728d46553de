package ebs

import (
	"strings"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// deviceNames hands out device names per instance. It remembers names that are
// being asked for or were lately, and names that EC2 called taken although
// DescribeInstances does not show them (devices of the AMI). It only saves failed
// calls: EC2 itself refuses a name that is in use.
type deviceNames struct {
	mu        sync.Mutex
	instances map[string]*instanceNames
}

type instanceNames struct {
	inFlight map[string]bool
	released map[string]time.Time // when one was last asked for
	taken    map[string]bool
}

func newDeviceNames() *deviceNames { return &deviceNames{instances: map[string]*instanceNames{}} }

// lastDevice is the last name with two letters that EC2 takes, as the authors of the EBS CSI driver found; EC2's own
// documentation names no end.
const lastDevice = "/dev/xvddx"

// candidates lists the device names in the order they are tried: /dev/xvd[b-d][a-z]
// are EC2's own recommendation for HVM instances, the rest follows for instances
// that hold more volumes.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var candidates = func() (names []string) {
	for _, first := range "bcda" {
		for second := 'a'; second <= 'z'; second++ {
			if name := "/dev/xvd" + string(first) + string(second); name <= lastDevice {
				names = append(names, name)
			}
		}
	}
	for letter := 'b'; letter <= 'z'; letter++ {
		names = append(names, "/dev/xvd"+string(letter))
	}
	return names
}()

// reserve returns a free name on an instance and a function that gives it back. asOf is
// when the instance was read, or before: what was attached since then it does not show.
// ok is false where every name is in use.
func (d *deviceNames) reserve(instance ec2.Instance, asOf time.Time) (name string, release func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	state := d.instances[instance.ID]
	if state == nil {
		state = &instanceNames{inFlight: map[string]bool{}, released: map[string]time.Time{}, taken: map[string]bool{}}
		d.instances[instance.ID] = state
	}
	used := map[string]bool{}
	for _, a := range instance.Attachments {
		used[a.Device] = true
	}
	for _, name := range candidates {
		if !used[name] && !state.inFlight[name] && !state.taken[name] && !state.released[name].After(asOf) {
			state.inFlight[name] = true
			return name, func() { d.release(state, name) }, true
		}
	}
	return "", nil, false
}

func (d *deviceNames) release(state *instanceNames, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(state.inFlight, name)
	state.released[name] = time.Now()
}

// markTaken notes that EC2 called a name taken.
func (d *deviceNames) markTaken(instance, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state := d.instances[instance]; state != nil {
		state.taken[name] = true
	}
}

// maxRefusedNames bounds how many names one call tries after EC2 refused one for another reason than that it is in use.
const maxRefusedNames = 30

// refusesName reports whether EC2 refused the device name and not the attachment: another name may do. inUse says that the
// name is taken.
func refusesName(err error, device string) (refused, inUse bool) {
	if fault.CodeOf(err) != "InvalidParameterValue" || !strings.Contains(err.Error(), device) {
		return false, false
	}
	return true, strings.Contains(err.Error(), "already in use")
}

// forgetTaken gives every name of an instance another chance, when none is left.
func (d *deviceNames) forgetTaken(instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state := d.instances[instance]; state != nil {
		clear(state.taken)
		clear(state.released)
	}
}

// forget drops an instance that is gone.
func (d *deviceNames) forget(instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.instances, instance)
}
