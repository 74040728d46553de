package ebs_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/backendtest"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const cluster = "test-cluster"

// TestMain lets more tests run at one time than there are processors: they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// cloud is an emulator and the real client on it.
type cloud struct {
	*emulator.Server
	t       *testing.T
	absence time.Duration
}

// newCloud starts an emulator with two instances in one zone. The absence interval
// is shortened where the emulator is strongly consistent.
func newCloud(t *testing.T, opts emulator.Options, absence time.Duration) *cloud {
	t.Helper()
	if len(opts.Zones) == 0 {
		opts.Zones = []string{"us-east-1a"}
	}
	server, err := emulator.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &cloud{Server: server, t: t, absence: absence}
}

// instant is a cloud without delays.
func instant(t *testing.T) *cloud {
	return newCloud(t, emulator.Options{}, 50*time.Millisecond)
}

// lagging is a cloud whose views show the past for a while, five times as fast as EC2's: the tests mostly wait for it.
func lagging(t *testing.T, seed int64) *cloud {
	return newCloud(t, emulator.Options{Window: 400 * time.Millisecond, Seed: seed}, 600*time.Millisecond)
}

// config is a session of its own with the cloud.
func (c *cloud) config() sdkaws.Config {
	c.t.Helper()
	session, err := aws.NewExplicitSession(aws.Explicit{Region: "us-east-1", AccessKeyID: "test", SecretAccessKey: "test", EC2: c.Endpoint()})
	if err != nil {
		c.t.Fatal(err)
	}
	return session.Config()
}

func (c *cloud) client() *ec2.Client {
	c.t.Helper()
	client := ec2.New(c.config(), ec2.Options{AbsenceInterval: c.absence})
	c.t.Cleanup(client.Close)
	return client
}

func (c *cloud) backend() *ebs.Backend { return c.backendWith(ebs.Options{}) }

func (c *cloud) backendWith(opts ebs.Options) *ebs.Backend {
	if opts.Owner.Driver == "" {
		opts.Owner.Driver = ebs.DefaultDriver
	}
	opts.Owner.Cluster = cluster
	return ebs.New(c.client(), opts)
}

func (c *cloud) node(i int) string { return c.State().Instances[i].ID }

// speed makes the cloud's time run that many times as fast as ours.
func (c *cloud) speed(speed float64) {
	c.t.Helper()
	if err := c.SetSpeed(speed); err != nil {
		c.t.Fatal(err)
	}
}

// count returns how often an operation was called, whatever the outcome.
func (c *cloud) count(operation string) int {
	n := c.Calls()[operation]
	return n.OK + n.Throttled + n.Error
}

func (c *cloud) fault(rules ...emulator.Fault) {
	c.t.Helper()
	if err := c.AddFaults(rules...); err != nil {
		c.t.Fatal(err)
	}
}

// ours lists what carries our cluster tag.
func (c *cloud) ours() []string {
	var left []string
	state := c.State()
	for _, v := range state.Volumes {
		if v.Tags[ebs.TagCluster] == cluster && v.State != ec2.StateDeleting {
			left = append(left, v.ID)
		}
	}
	for _, s := range state.Snapshots {
		if s.Tags[ebs.TagCluster] == cluster {
			left = append(left, s.ID)
		}
	}
	return left
}

// foreign makes a volume with other tags than ours.
func (c *cloud) foreign(tags map[string]string) string {
	c.t.Helper()
	v, err := c.client().CreateVolume(c.t.Context(), ec2.VolumeSpec{Zone: "us-east-1a", Type: "gp3", SizeGiB: 1, Tags: tags})
	if err != nil {
		c.t.Fatal(err)
	}
	return v.ID
}

// sdk is the plain SDK client, for what the driver itself never does.
func (c *cloud) sdk() *sdk.Client {
	return sdk.NewFromConfig(c.config())
}

// terminate ends an instance for ever.
func (c *cloud) terminate(instance string) {
	c.t.Helper()
	if _, err := c.sdk().TerminateInstances(c.t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{instance}}); err != nil {
		c.t.Fatal(err)
	}
}

// stop stops an instance, which keeps its volumes.
func (c *cloud) stop(instance string) {
	c.t.Helper()
	if _, err := c.sdk().StopInstances(c.t.Context(), &sdk.StopInstancesInput{InstanceIds: []string{instance}}); err != nil {
		c.t.Fatal(err)
	}
}

var writer = volume.Capability{Mode: volume.SingleNodeWriter, FSType: "ext4"}

var inZoneA = volume.Requirement{Requisite: []volume.Topology{{Zone: "us-east-1a"}}}

func request(name string, gib int64) volume.CreateRequest {
	return volume.CreateRequest{
		Name: name, Range: volume.Range{RequiredBytes: gib * volume.GiB},
		Capabilities: []volume.Capability{writer}, Topology: inZoneA,
	}
}

func mustCreate(t *testing.T, b *ebs.Backend, name string) volume.Volume {
	t.Helper()
	v, err := b.Create(t.Context(), request(name, 1))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fixture(t *testing.T, opts emulator.Options, absence time.Duration) backendtest.Fixture {
	c := newCloud(t, opts, absence)
	return backendtest.Fixture{
		Backend: c.backend(), Capability: writer, Topology: inZoneA, Missing: "vol-00000000000000000",
		Nodes:   [2]string{c.node(0), c.node(1)},
		Restart: func() backend.Backend { return c.backend() },
		Foreign: func() string { return c.foreign(map[string]string{"Name": "someone else's"}) },
		Left:    c.ours,
	}
}

func TestBackend_Conformance(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		return fixture(t, emulator.Options{}, 50*time.Millisecond)
	})
}

func TestParameters_NamesAreThePeersAndAliasesMeanTheSame(t *testing.T) {
	t.Parallel()
	for _, p := range ebs.Parameters() {
		if p.Help == "" || !strings.HasSuffix(p.Help, ".") {
			t.Errorf("parameter %s has no help sentence", p.Key)
		}
	}
	values, err := ebs.Parameters().Decode(map[string]string{"TYPE": "IO2", "encryptionKey": "alias/k", "zone": "us-east-1b"})
	if err != nil || values["type"] != "io2" || values["kmsKeyId"] != "alias/k" || values["availabilityZone"] != "us-east-1b" {
		t.Errorf("Decode = %v, %v", values, err)
	}
	for raw, want := range map[string]string{
		"iops=many":       `parameter "iops": "many" is not a whole number`,
		"encypted=true":   `unknown parameter "encypted"; did you mean "encrypted"?`,
		"type=gp9":        `parameter "type": "gp9" is not one of gp3`,
		"encrypted=maybe": `parameter "encrypted": "maybe" is not true or false`,
	} {
		k, v, _ := strings.Cut(raw, "=")
		if _, err := ebs.Parameters().Decode(map[string]string{k: v}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", raw, err, want)
		}
	}
	if _, err := ebs.Parameters().Decode(map[string]string{"kmsKeyId": "a", "kms_key_arn": "b"}); err == nil {
		t.Error("two names of one parameter must be refused")
	}
}
