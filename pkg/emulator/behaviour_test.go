package emulator_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
)

func TestThrottle_bucketsPerAction(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Throttled})
	exhaust := func(call func() error) (passed int) {
		for ; passed < 1000; passed++ {
			if err := call(); code(err) == "RequestLimitExceeded" {
				return passed
			}
		}
		return passed
	}
	remove := func() error { return c.deleteVolume("vol-0123456789abcdef0") }
	paged := func() error {
		_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{MaxResults: aws.Int32(5)})
		return err
	}
	unpaged := func() error {
		_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{})
		return err
	}
	tag := func() error {
		_, err := c.ec2.CreateTags(c.ctx, &ec2.CreateTagsInput{Resources: []string{"vol-0123456789abcdef0"}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		return err
	}
	for name, row := range map[string]struct {
		call            func() error
		size, perSecond int
	}{
		"DeleteVolume": {remove, 100, 5}, "DescribeVolumes": {paged, 100, 20},
		"DescribeVolumes of all": {unpaged, 50, 10}, "CreateTags": {tag, 50, 5},
	} {
		if got := exhaust(row.call); got != row.size {
			t.Errorf("%s: %d calls at once, want %d", name, got, row.size)
		}
		c.advance(2 * time.Second)
		if got := exhaust(row.call); got != 2*row.perSecond {
			t.Errorf("%s: %d calls after 2 s, want %d", name, got, 2*row.perSecond)
		}
	}
	if n := c.Calls()["DeleteVolume"]; n.Throttled != 2 || n.Error != 110 {
		t.Errorf("counts %+v", n)
	}
}

func TestThrottle_notInOtherProfiles(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	for range 150 {
		c.wantCode(c.deleteVolume("vol-0123456789abcdef0"), "InvalidVolume.NotFound")
	}
}

func TestConsistency_freshIDsAreUnknownForAMoment(t *testing.T) {
	c := start(t, emulator.Options{Window: 2 * time.Second, Seed: 1})
	var byID, byFilter, byTag, toDelete int
	const n = 40
	ids := make([]string, n)
	for i := range ids {
		ids[i] = c.createVolume()
	}
	c.advance(time.Second) // half of the window
	for _, id := range ids {
		if _, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}}); err != nil {
			c.wantCode(err, "InvalidVolume.NotFound")
			byID++
		}
		if found := must(c.volumesBy(filter("volume-id", id)))(c); len(found) == 0 {
			byFilter++
		}
		_, err := c.ec2.CreateTags(c.ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		if err != nil {
			c.wantCode(err, "InvalidVolume.NotFound")
			byTag++
		}
		if err := c.deleteVolume(id); err != nil {
			c.wantCode(err, "InvalidVolume.NotFound")
			toDelete++
		}
	}
	if byID != byFilter {
		t.Errorf("%d are unknown by id and %d by filter at one time, want the same", byID, byFilter)
	}
	for what, unknown := range map[string]int{"DescribeVolumes": byID, "CreateTags": byTag, "DeleteVolume": toDelete} {
		if unknown < n/4 || unknown > n*3/4 {
			t.Errorf("%s: %d of %d are unknown half way, want about half", what, unknown, n)
		}
	}
	c.advance(2 * time.Second)
	if left := must(c.volumesBy())(c); len(left) != toDelete {
		t.Errorf("%d volumes are shown after the window, want %d", len(left), toDelete)
	}
}

func TestConsistency_viewsDisagreeForAMoment(t *testing.T) {
	c := start(t, emulator.Options{Window: 2 * time.Second, Instances: 1, AttachLimit: 20})
	instance := c.Instances()[0].ID
	var ids []string
	for range 20 {
		ids = append(ids, c.createVolume())
	}
	c.advance(2 * time.Second)
	for n, id := range ids {
		if err := c.attach(id, instance, "/dev/xvdc"+string(rune('a'+n))); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(time.Second)
	shown, disagree, behind := c.devices(instance), 0, 0
	for _, id := range ids {
		attached := len(c.volume(id).Attachments) > 0
		_, mapped := shown[id]
		if attached != mapped {
			disagree++
		}
		if !attached {
			behind++
		}
	}
	if disagree == 0 || behind == 0 {
		t.Errorf("of %d: %d disagree, %d are behind; want some", len(ids), disagree, behind)
	}
	c.advance(time.Second)
	if shown := c.devices(instance); len(shown) != len(ids) {
		t.Errorf("%d are shown after the window, want all", len(shown))
	}
	if err := c.detach(ids[0], instance); err != nil {
		t.Fatal(err)
	}
	c.wantCode(c.detach(ids[0], instance), "IncorrectState") // changes go by the truth
	c.advance(2 * time.Second)
	if err := c.deleteVolume(ids[0]); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: ids[:1]})
	c.wantCode(err, "InvalidVolume.NotFound")
}

func TestSeed_fixesIDsAndDurations(t *testing.T) {
	run := func(seed int64) (string, time.Time) {
		c := start(t, emulator.Options{Profile: emulator.Realistic, Seed: seed})
		id := c.createVolume()
		for range 400 {
			if c.State().Volumes[0].State == "available" {
				break
			}
			c.advance(10 * time.Millisecond)
		}
		return id, c.Now()
	}
	id1, at1 := run(7)
	id2, at2 := run(7)
	if id1 != id2 || !at1.Equal(at2) {
		t.Errorf("two runs of one seed: %s at %s, %s at %s", id1, at1, id2, at2)
	}
	if id3, at3 := run(8); id3 == id1 || at3.Equal(at1) {
		t.Errorf("another seed gives the same: %s at %s", id3, at3)
	}
}

func TestProfiles_durations(t *testing.T) {
	for name, row := range map[string]struct{ least, most time.Duration }{
		emulator.Reference: {800 * time.Millisecond, 1200 * time.Millisecond},
		emulator.Realistic: {time.Second, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, emulator.Options{Profile: name})
			for range 30 {
				c.createVolume()
			}
			available := func() (n int) {
				for _, v := range c.State().Volumes {
					if v.State == "available" {
						n++
					}
				}
				return n
			}
			c.advance(row.least - 1)
			if n := available(); n != 0 {
				t.Errorf("%d volumes before %s", n, row.least)
			}
			c.advance((row.most - row.least) / 2)
			if n := available(); n == 0 || n == 30 {
				t.Errorf("%d volumes half way, want some", n)
			}
			c.advance(row.most - row.least)
			if n := available(); n != 30 {
				t.Errorf("%d volumes after %s, want all", n, row.most)
			}
		})
	}
}

// Many callers take volumes through their life at once, each waiting for states as a driver does; nothing is left.
func TestServer_manyCallersAtOnce(t *testing.T) {
	tree := newDisks()
	tree.came = make(chan string, 100)
	c := start(t, emulator.Options{Profile: emulator.Realistic, Storage: tree, Zones: []string{"us-east-1a"}, Clock: clock.New()})
	if err := c.SetSpeed(50); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Minute)
	retry := func(call func() error) error { // as an SDK does
		for {
			err := call()
			switch code(err) {
			case "RequestLimitExceeded", "InvalidVolume.NotFound", "InvalidInstanceID.NotFound", "IncorrectState":
			default:
				return err
			}
			if time.Now().After(end) {
				return err
			}
		}
	}
	var group sync.WaitGroup
	failures := make(chan error, 20)
	for n := range 20 {
		group.Go(func() {
			id, instance, name := "", c.Instances()[n%2].ID, fmt.Sprintf("/dev/xvdb%c", 'a'+n)
			for _, step := range []func() error{
				func() error {
					out, err := c.ec2.CreateVolume(c.ctx, newVolume(func(in *create) { in.ClientToken = &name }))
					if err == nil {
						id = *out.VolumeId
					}
					return err
				},
				func() error { return c.attach(id, instance, name) },
				func() error { return c.modify(id, size(20)) },
				func() error { return c.detach(id, instance) },
				func() error {
					for {
						if err := c.deleteVolume(id); code(err) != "VolumeInUse" || time.Now().After(end) {
							return err
						}
					}
				},
			} {
				if err := retry(step); err != nil { // the next would wait in vain
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			t.Error(err)
		}
	}
	c.until("all is gone", func() bool { return len(c.State().Volumes) == 0 })
	for n := range 20 {
		name := fmt.Sprintf("/dev/xvdb%c", 'a'+n)
		id := c.createVolume(func(in *create) { in.ClientToken = &name }) // the dead one's id
		if tree.has(id) {
			t.Errorf("the device of %s is left", id)
		}
	}
}
