package ebs

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
)

// TestDeviceNames_ALongWait is that of a call that read the instance long before EC2's rate lets it attach.
func TestDeviceNames_ALongWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, read, inst := newDeviceNames(), time.Now(), ec2.Instance{ID: "i-1"}
		<-time.After(time.Second)
		first, attached, _ := d.reserve(inst, read)
		attached()
		if second, release, ok := d.reserve(inst, read); !ok || second == first {
			t.Errorf("got %s, which was attached since the instance was read", second)
		} else {
			release()
		}
		<-time.After(time.Second)
		if again, _, _ := d.reserve(inst, time.Now()); again != first {
			t.Errorf("got %s, though what was read now shows %s free", again, first)
		}
	})
}

func TestDeviceNames_NoneLeft(t *testing.T) {
	d, read := newDeviceNames(), time.Now()
	for range candidates {
		_, release, ok := d.reserve(ec2.Instance{ID: "i-1"}, read)
		if !ok {
			t.Fatal("too few names")
		}
		release()
	}
	if name, _, ok := d.reserve(ec2.Instance{ID: "i-1"}, read.Add(-time.Hour)); ok {
		t.Errorf("got %s", name)
	}
	d.forgetTaken("i-1")
	if _, _, ok := d.reserve(ec2.Instance{ID: "i-1"}, read.Add(-time.Hour)); !ok {
		t.Error("no name gets another chance")
	}
}

// TestDeviceNames_EndWhereEC2sDo: /dev/xvddy and what follows were offered, and refused.
func TestDeviceNames_EndWhereEC2sDo(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range candidates {
		if seen[name] || len(name) == len(lastDevice) && name > lastDevice {
			t.Errorf("%s is offered", name)
		}
		seen[name] = true
	}
	if !seen[lastDevice] || len(seen) != 3*26+24+25 {
		t.Errorf("%d names", len(seen))
	}
}
