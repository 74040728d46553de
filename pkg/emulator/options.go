package emulator

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator/lifecycle"
	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

// What is used where the options name nothing else.
const (
	DefaultAccessKeyID     = "test"
	DefaultSecretAccessKey = "test"
	DefaultRegion          = "us-east-1"
	DefaultAccountID       = "000000000000"
	DefaultInstanceType    = "m5.large"
	DefaultInstances       = 2
)

// The names of the profiles.
const (
	Instant   = "instant"   // no delays, no throttles, strongly consistent
	Realistic = "realistic" // AWS's usual delays, throttles and eventual consistency
	Reference = "reference" // fixed short delays for measuring, no throttles, strongly consistent
	Throttled = "throttled" // as Reference, with AWS's throttles
)

// Profile is how slow, how forgetful and how strict the emulator is.
type Profile struct {
	Name      string
	Times     lifecycle.Times
	Window    time.Duration // how long a view may lag at most
	Throttled bool
}

// Profiles are the profiles by name.
func Profiles() map[string]Profile {
	const s = time.Second
	reference := lifecycle.Times{
		Volume: lifecycle.Around(s, .2), Attach: lifecycle.Around(800*time.Millisecond, .2), Detach: lifecycle.Around(s, .2),
		Snapshot: lifecycle.Around(400*time.Millisecond, .2), Modify: lifecycle.Around(s, .2), Instance: lifecycle.Around(s, .2),
		FileSystem: lifecycle.Around(s, .2), MountTarget: lifecycle.Around(2*s, .2), AccessPoint: lifecycle.Around(s/5, .2),
	}
	return map[string]Profile{
		Instant:   {Name: Instant},
		Reference: {Name: Reference, Times: reference},
		Throttled: {Name: Throttled, Times: reference, Throttled: true},
		Realistic: {Name: Realistic, Throttled: true, Window: 2 * s, Times: lifecycle.Times{
			Volume: lifecycle.Range{Min: s, Max: 3 * s}, Delete: lifecycle.Range{Min: s / 2, Max: s},
			Attach: lifecycle.Range{Min: s, Max: 4 * s}, Detach: lifecycle.Range{Min: s, Max: 4 * s},
			Snapshot: lifecycle.Range{Min: 2 * s, Max: 10 * s}, Modify: lifecycle.Range{Min: 2 * s, Max: 5 * s},
			Instance: lifecycle.Range{Min: 3 * s, Max: 6 * s},
			// https://docs.aws.amazon.com/efs/latest/ug/accessing-fs.html: a mount target takes up to 90 seconds.
			FileSystem: lifecycle.Range{Min: 2 * s, Max: 5 * s}, MountTarget: lifecycle.Range{Min: 30 * s, Max: 80 * s},
			AccessPoint: lifecycle.Range{Min: s / 2, Max: 2 * s},
		}},
	}
}

// Options say what to emulate. The zero Options are a usable emulator.
type Options struct {
	Listen         string             // address; 127.0.0.1 and any port if empty
	StateDir       string             // where the state survives; empty keeps it in memory
	Profile        string             // Instant if empty
	Instances      int                // how many there are at first; DefaultInstances if 0
	Zones          []string           // of the instances in order, repeated; the region's a and b if empty
	InstanceType   string             // of the first instances; DefaultInstanceType if empty
	HiddenDevices  []string           // device names that every image takes without showing them; /dev/xvdb if nil
	InvalidDevices []string           // device names that every image refuses beside those that EC2 never takes
	AttachLimit    int                // volumes per instance beside its root; the type's own if 0
	Storage        storage.Storage    // the disks; none if nil. The server closes it
	Files          storage.FileServer // what mount targets' addresses lead to; nothing if nil. The server closes it
	S3Server       string             // path of versitygw, the program that keeps the objects of S3; no S3 if empty
	Seed           int64              // fixes ids, durations, lags and chances
	Clock          *clock.Clock       // the machine's if nil
	Region         string             // DefaultRegion if empty
	AccountID      string             // DefaultAccountID if empty

	AccessKeyID, SecretAccessKey string        // of the one user; the defaults if empty
	Window                       time.Duration // replaces the profile's consistency window if not 0; at most 2 s
}

// maxWindow bounds eventual consistency, so that clients can tell absence from lag.
const maxWindow = 2 * time.Second

// Check says what is wrong with the options; its error names the option as the command's flags do.
func (o Options) Check() error {
	_, _, err := o.complete()
	return err
}

// complete fills in what the options leave out and checks the rest; its errors name the option.
func (o Options) complete() (Options, Profile, error) {
	fill(&o.Listen, "127.0.0.1:0")
	fill(&o.Profile, Instant)
	fill(&o.InstanceType, DefaultInstanceType)
	fill(&o.Region, DefaultRegion)
	fill(&o.AccountID, DefaultAccountID)
	fill(&o.AccessKeyID, DefaultAccessKeyID)
	fill(&o.SecretAccessKey, DefaultSecretAccessKey)
	if o.Instances == 0 {
		o.Instances = DefaultInstances
	}
	if len(o.Zones) == 0 {
		o.Zones = []string{o.Region + "a", o.Region + "b"}
	}
	if o.HiddenDevices == nil {
		o.HiddenDevices = []string{"/dev/xvdb"}
	}
	if o.Storage == nil {
		o.Storage = storage.None{}
	}
	if o.Files == nil {
		o.Files = storage.NoFiles{}
	}
	if o.Clock == nil {
		o.Clock = clock.New()
	}
	p, ok := Profiles()[o.Profile]
	if o.Window != 0 {
		p.Window = o.Window
	}
	switch {
	case !ok:
		return o, p, fmt.Errorf("--profile: %q is not one of %s, %s, %s, %s", o.Profile, Instant, Realistic, Reference, Throttled)
	case o.Instances < 0 || o.Instances > 10000:
		return o, p, fmt.Errorf("--instances: %d is not between 1 and 10000", o.Instances)
	case o.AttachLimit < 0:
		return o, p, errors.New("--attach-limit: it is negative")
	case p.Window < 0 || p.Window > maxWindow:
		return o, p, fmt.Errorf("consistency window: %s is not between 0 and %s", p.Window, maxWindow)
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return o, p, fmt.Errorf("--listen: %w", err)
	}
	if _, ok := ec2.FindInstanceType(o.InstanceType); !ok {
		return o, p, fmt.Errorf("--instance-type: %q is not one that the emulator has", o.InstanceType)
	}
	for _, z := range o.Zones {
		if letter, ok := strings.CutPrefix(z, o.Region); !ok || len(letter) != 1 || letter < "a" || letter > "f" {
			return o, p, fmt.Errorf("--zones: %q is not a zone of region %s, which has %sa to %sf", z, o.Region, o.Region, o.Region)
		}
	}
	return o, p, nil
}

// regionZones are the zones that the region has: a to c, and those that instances are in.
func (o Options) regionZones() []string {
	zones := append([]string{o.Region + "a", o.Region + "b", o.Region + "c"}, o.Zones...)
	slices.Sort(zones)
	return slices.Compact(zones)
}

func fill(s *string, value string) {
	if *s == "" {
		*s = value
	}
}
