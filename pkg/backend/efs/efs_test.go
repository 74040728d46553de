package efs_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdkec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/backendtest"
	"github.com/diskbridge/diskbridge/pkg/backend/efs"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	cloudefs "github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
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

// cloud is an emulator with one instance in each of two zones, and the real clients on it.
type cloud struct {
	*emulator.Server
	t       *testing.T
	absence time.Duration
}

func newCloud(t *testing.T, opts emulator.Options, absence time.Duration) *cloud {
	t.Helper()
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

func instant(t *testing.T) *cloud { return newCloud(t, emulator.Options{}, 50*time.Millisecond) }

// config is a session of its own with the cloud.
func (c *cloud) config() sdkaws.Config {
	c.t.Helper()
	session, err := aws.NewExplicitSession(aws.Explicit{Region: "us-east-1", AccessKeyID: "test", SecretAccessKey: "test", EC2: c.Endpoint()})
	if err != nil {
		c.t.Fatal(err)
	}
	return session.Config()
}

func (c *cloud) client() *cloudefs.Client {
	client := cloudefs.New(c.config(), cloudefs.Options{AbsenceInterval: c.absence})
	c.t.Cleanup(client.Close)
	return client
}

func (c *cloud) backend() *efs.Backend {
	network := ec2.New(c.config(), ec2.Options{AbsenceInterval: c.absence})
	c.t.Cleanup(network.Close)
	return efs.New(c.client(), network, efs.Options{Owner: backend.Owner{Driver: efs.DefaultDriver, Cluster: cluster}})
}

func (c *cloud) sdkEC2() *sdkec2.Client { return sdkec2.NewFromConfig(c.config()) }
func (c *cloud) node(i int) string      { return c.State().Instances[i].ID }

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
	for _, f := range state.FileSystems {
		if f.Tags[backend.TagCluster] == cluster && f.State != cloudefs.StateDeleting {
			left = append(left, f.ID)
		}
	}
	for _, a := range state.AccessPoints {
		if a.Tags[backend.TagCluster] == cluster && a.State != cloudefs.StateDeleting {
			left = append(left, a.ID)
		}
	}
	return left
}

// foreign makes a file system that is not ours.
func (c *cloud) foreign(token string, tags map[string]string) string {
	c.t.Helper()
	client := c.client()
	f, err := client.CreateFileSystem(c.t.Context(), cloudefs.FileSystemSpec{
		Token: token, PerformanceMode: "generalPurpose", Throughput: cloudefs.Throughput{Mode: "bursting"}, Tags: tags,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return f.ID
}

// subnet makes a subnet of the default VPC, or of another one.
func (c *cloud) subnet(vpc, zone, cidr string) string {
	c.t.Helper()
	out, err := c.sdkEC2().CreateSubnet(c.t.Context(), &sdkec2.CreateSubnetInput{VpcId: &vpc, AvailabilityZone: &zone, CidrBlock: &cidr})
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.Subnet.SubnetId
}

func (c *cloud) otherVPC() string {
	c.t.Helper()
	out, err := c.sdkEC2().CreateVpc(c.t.Context(), &sdkec2.CreateVpcInput{CidrBlock: sdkaws.String("10.9.0.0/16")})
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.Vpc.VpcId
}

// group makes a security group; from lists the networks from which it lets NFS in.
func (c *cloud) group(name, vpc string, from ...string) string {
	c.t.Helper()
	out, err := c.sdkEC2().CreateSecurityGroup(c.t.Context(), &sdkec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: &vpc})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, cidr := range from {
		_, err := c.sdkEC2().AuthorizeSecurityGroupIngress(c.t.Context(), &sdkec2.AuthorizeSecurityGroupIngressInput{
			GroupId: out.GroupId, IpPermissions: []ec2types.IpPermission{{
				IpProtocol: sdkaws.String("tcp"), FromPort: sdkaws.Int32(2049), ToPort: sdkaws.Int32(2049), IpRanges: []ec2types.IpRange{{CidrIp: &cidr}},
			}},
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return *out.GroupId
}

const defaultVPC = "vpc-00000000000000001"

var shared = volume.Capability{Mode: volume.MultiNodeMultiWriter}

func request(name string, parameters map[string]string) volume.CreateRequest {
	return volume.CreateRequest{
		Name: name, Range: volume.Range{RequiredBytes: volume.GiB}, Capabilities: []volume.Capability{shared}, Parameters: parameters,
	}
}

func mustCreate(t *testing.T, b *efs.Backend, name string, parameters map[string]string) volume.Volume {
	t.Helper()
	v, err := b.Create(t.Context(), request(name, parameters))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wantFault checks the kind and a part of the message.
func wantFault(t *testing.T, what string, err error, kind fault.Kind, text string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: %v (kind %v); want kind %v with %q", what, err, fault.KindOf(err), kind, text)
	}
}

func fixture(t *testing.T, c *cloud) backendtest.Fixture {
	n := 0
	return backendtest.Fixture{
		Backend: c.backend(), Capability: shared, Missing: "fs-00000000000000000", Shared: true,
		Nodes:   [2]string{c.node(0), c.node(1)},
		Restart: func() backend.Backend { return c.backend() },
		Foreign: func() string {
			n++
			return c.foreign(fmt.Sprint("foreign", n), map[string]string{"Name": "of another"})
		},
		Left: c.ours,
	}
}

func TestBackend_Conformance(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture { return fixture(t, instant(t)) })
}

// TestBackend_ConformanceOfAccessPoints runs the suite on access points in a pool of two file systems. A list shows
// file systems only, so that what the suite wants to see there is not to be had.
func TestBackend_ConformanceOfAccessPoints(t *testing.T) {
	t.Parallel()
	s := backendtest.Suite{New: func(t *testing.T) backendtest.Fixture {
		c := instant(t)
		pool := []string{c.foreign("pool-1", nil), c.foreign("pool-2", nil)}
		f := fixture(t, c)
		f.Parameters = map[string]string{"provisioningMode": "accesspoint", "fileSystemId": strings.Join(pool, ",")}
		f.Missing = pool[0] + "::fsap-00000000000000000"
		return f
	}}
	t.Run("create", s.TestCreateIsIdempotent)
	t.Run("taken name", s.TestCreateRefusesATakenName)
	t.Run("bad input", s.TestCreateRefusesBadInput)
	t.Run("delete", s.TestDeleteIsIdempotent)
	t.Run("publish", s.TestPublishIsIdempotentAndExclusive)
	t.Run("expand", s.TestExpandNeverShrinks)
}

// TestBackend_ConformanceWhereEverythingTakesTime runs it with AWS's delays and eventual consistency, five times as fast.
func TestBackend_ConformanceWhereEverythingTakesTime(t *testing.T) {
	t.Parallel()
	s := backendtest.Suite{New: func(t *testing.T) backendtest.Fixture {
		c := newCloud(t, emulator.Options{Profile: emulator.Reference, Window: 400 * time.Millisecond, Seed: 7}, 600*time.Millisecond)
		if err := c.SetSpeed(5); err != nil {
			t.Fatal(err)
		}
		return fixture(t, c)
	}}
	t.Run("create", func(t *testing.T) { t.Parallel(); s.TestCreateIsIdempotent(t) })
	t.Run("delete", func(t *testing.T) { t.Parallel(); s.TestDeleteIsIdempotent(t) })
	t.Run("publish", func(t *testing.T) { t.Parallel(); s.TestPublishIsIdempotentAndExclusive(t) })
	t.Run("expand", func(t *testing.T) { t.Parallel(); s.TestExpandNeverShrinks(t) })
}

// targets are the mount targets of a file system, by zone.
func (c *cloud) targets(fs string) map[string]emulator.MountTargetState {
	out := map[string]emulator.MountTargetState{}
	for _, f := range c.State().FileSystems {
		if f.ID == fs {
			for _, m := range f.MountTargets {
				out[m.Zone] = m
			}
		}
	}
	return out
}

func (c *cloud) fileSystem(id string) emulator.FileSystemState {
	c.t.Helper()
	all := c.State().FileSystems
	i := slices.IndexFunc(all, func(f emulator.FileSystemState) bool { return f.ID == id })
	if i < 0 {
		c.t.Fatalf("there is no %s", id)
	}
	return all[i]
}
