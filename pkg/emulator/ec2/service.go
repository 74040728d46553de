package ec2

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/lifecycle"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Views that lag separately: what one call shows, another may not show yet.
// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
const (
	viewVolumes       store.View = "volumes"
	viewModifications store.View = "modifications"
	viewSnapshots     store.View = "snapshots"
	viewInstances     store.View = "instances"
	viewTags          store.View = "tags"
	viewChanges       store.View = "changes" // what calls that change something know to exist
)

// Config is what the service stands on.
type Config struct {
	Store   *store.Store
	Life    *lifecycle.Engine
	Clock   *clock.Clock
	Account string
	Region  string
	Zones   []string // in order; their ids are made from it
	// NewInstance fills in what RunInstances leaves to the emulator and gives the instance its metadata service.
	NewInstance func(ctx context.Context, i *store.Instance) error
}

// Service answers EC2 actions.
type Service struct{ Config }

// New makes a service.
func New(c Config) *Service { return &Service{c} }

type handler func(context.Context, *wire.Params) (any, error)

func (s *Service) actions() map[string]handler {
	return map[string]handler{
		"CreateVolume":                 s.createVolume,
		"CopyVolumes":                  s.copyVolumes,
		"DeleteVolume":                 s.deleteVolume,
		"DescribeVolumes":              s.describeVolumes,
		"DescribeVolumeStatus":         s.describeVolumeStatus,
		"AttachVolume":                 s.attachVolume,
		"DetachVolume":                 s.detachVolume,
		"ModifyVolume":                 s.modifyVolume,
		"DescribeVolumesModifications": s.describeVolumesModifications,

		"CreateSnapshot":               s.createSnapshot,
		"CreateSnapshots":              s.createSnapshots,
		"DeleteSnapshot":               s.deleteSnapshot,
		"DescribeSnapshots":            s.describeSnapshots,
		"EnableFastSnapshotRestores":   s.enableFastRestores,
		"DisableFastSnapshotRestores":  s.disableFastRestores,
		"DescribeFastSnapshotRestores": s.describeFastRestores,
		"LockSnapshot":                 s.lockSnapshot,

		"CreateTags":   s.createTags,
		"DeleteTags":   s.deleteTags,
		"DescribeTags": s.describeTags,

		"DescribeInstances":         s.describeInstances,
		"DescribeInstanceTypes":     s.describeInstanceTypes,
		"DescribeAvailabilityZones": s.describeZones,
		"RunInstances":              s.runInstances,
		"StartInstances":            s.startInstances,
		"StopInstances":             s.stopInstances,
		"TerminateInstances":        s.terminateInstances,

		"CreateVpc":                     s.createVPC,
		"CreateSubnet":                  s.createSubnet,
		"DeleteSubnet":                  s.deleteSubnet,
		"DescribeSubnets":               s.describeSubnets,
		"DescribeNetworkInterfaces":     s.describeInterfaces,
		"CreateSecurityGroup":           s.createGroup,
		"DeleteSecurityGroup":           s.deleteGroup,
		"AuthorizeSecurityGroupIngress": s.authorizeIngress,
		"DescribeSecurityGroups":        s.describeGroups,
	}
}

// Do answers an action. Its errors are [*wire.Error], or of the emulator itself.
func (s *Service) Do(ctx context.Context, action string, p *wire.Params) (any, error) {
	handle, ok := s.actions()[action]
	if !ok {
		return nil, wire.Errorf("InvalidAction", "The action %s is not valid for this web service.", action)
	}
	return handle(ctx, p)
}

type failLater struct{}

// FailLater marks a call that is accepted, and what it began then fails.
func FailLater(ctx context.Context) context.Context {
	return context.WithValue(ctx, failLater{}, true)
}

// FailsLater reports whether FailLater marked a call.
func FailsLater(ctx context.Context) bool { return ctx.Value(failLater{}) != nil }

// allowed is called when everything about a request is in order and before anything is done:
// it answers a parameter that could not be read, and a dry run.
func allowed(p *wire.Params) error {
	dry := p.Bool("DryRun")
	if err := p.Err(); err != nil {
		return err
	}
	if dry {
		return wire.Coded("DryRunOperation")
	}
	return nil
}

// simpleResult is the answer of actions that have nothing to say.
type simpleResult struct {
	Return bool `xml:"return"`
}
