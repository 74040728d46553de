package ec2

import (
	"context"
	"errors"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// AbsenceInterval is how far two not-found answers must lie apart to be proof.
const AbsenceInterval = aws.AbsenceInterval

// Options shape a Client.
type Options struct {
	// AbsenceInterval replaces aws.AbsenceInterval; only for emulators whose clock runs
	// faster. Zero means the constant.
	AbsenceInterval time.Duration
	// Recorder is told of every batched read; may be nil.
	Recorder Recorder
}

// Recorder is told of every batched read: what is asked for and how many keys (ids, or
// values of a tag) share the call.
type Recorder interface {
	Batch(name string, keys int)
}

// Client calls EC2. It is safe for concurrent use; Close it to end its batchers.
type Client struct {
	api      *sdk.Client
	gate     *aws.Gate
	absences *aws.Absences

	volumes        *batch.Batcher[string, Volume]
	volumesNamed   *batch.Batcher[tagValue, []Volume]
	instances      *batch.Batcher[string, Instance]
	snapshots      *batch.Batcher[string, Snapshot]
	snapshotsNamed *batch.Batcher[tagValue, []Snapshot]
	modifications  *batch.Batcher[string, Modification]
}

// tagValue asks for resources by one tag.
type tagValue struct{ key, value string }

// New makes a Client on a session's configuration.
func New(cfg sdkaws.Config, opts Options) *Client {
	c := &Client{api: sdk.NewFromConfig(cfg), gate: aws.NewGate(sdk.ServiceID), absences: aws.NewAbsences(opts.AbsenceInterval)}
	c.volumes = batch.New(c.fetchVolumes, opts.batch("volumes"))
	c.volumesNamed = batch.New(c.fetchVolumesNamed, opts.batch("volumes_by_tag"))
	c.instances = batch.New(c.fetchInstances, opts.batch("instances"))
	c.snapshots = batch.New(c.fetchSnapshots, opts.batch("snapshots"))
	c.snapshotsNamed = batch.New(c.fetchSnapshotsNamed, opts.batch("snapshots_by_tag"))
	c.modifications = batch.New(c.fetchModifications, opts.batch("modifications"))
	return c
}

func (o Options) batch(name string) batch.Options {
	if o.Recorder == nil {
		return batch.Options{}
	}
	return batch.Options{Observe: func(keys int) { o.Recorder.Batch(name, keys) }}
}

// Close ends the batchers and waits for their calls.
func (c *Client) Close() {
	c.volumes.Close()
	c.volumesNamed.Close()
	c.instances.Close()
	c.snapshots.Close()
	c.snapshotsNamed.Close()
	c.modifications.Close()
}

// AbsenceInterval returns how far two not-found answers must lie apart.
func (c *Client) AbsenceInterval() time.Duration { return c.absences.Interval }

// CreateTags sets tags on one resource, overwriting values of equal keys.
func (c *Client) CreateTags(ctx context.Context, id string, tags map[string]string) error {
	_, err := aws.Do(ctx, c.gate, mutate("CreateTags", id), func(ctx context.Context) (*sdk.CreateTagsOutput, error) {
		return c.api.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id}, Tags: toTags(tags)})
	})
	return err
}

// DeleteTags removes tags from one resource, whatever their values.
func (c *Client) DeleteTags(ctx context.Context, id string, keys []string) error {
	tags := make([]types.Tag, len(keys))
	for i := range keys {
		tags[i].Key = &keys[i]
	}
	_, err := aws.Do(ctx, c.gate, mutate("DeleteTags", id), func(ctx context.Context) (*sdk.DeleteTagsOutput, error) {
		return c.api.DeleteTags(ctx, &sdk.DeleteTagsInput{Resources: []string{id}, Tags: tags})
	})
	return err
}

// Zones lists the region's availability zones that are open to this account.
func (c *Client) Zones(ctx context.Context) ([]Zone, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeAvailabilityZones", ""), func(ctx context.Context) (*sdk.DescribeAvailabilityZonesOutput, error) {
		return c.api.DescribeAvailabilityZones(ctx, &sdk.DescribeAvailabilityZonesInput{
			Filters: []types.Filter{filter("state", "available"), filter("zone-type", "availability-zone")},
		})
	})
	if err != nil {
		return nil, err
	}
	zones := make([]Zone, 0, len(out.AvailabilityZones))
	for _, z := range out.AvailabilityZones {
		zones = append(zones, Zone{Name: sdkaws.ToString(z.ZoneName), ID: sdkaws.ToString(z.ZoneId)})
	}
	return zones, nil
}

// get reads one key through a batcher; an ended context becomes a fault too.
func get[K comparable, V any](ctx context.Context, b *batch.Batcher[K, V], op, subject string, key K) (V, bool, error) {
	return answer(ctx, b.Ask(key), op, subject)
}

// answer waits for what a batcher was asked.
func answer[V any](ctx context.Context, wait func(context.Context) (V, bool, error), op, subject string) (V, bool, error) {
	v, found, err := wait(ctx)
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		err = aws.Classify(err, read(op, subject))
	}
	return v, found, err
}

// once marks a call that must not be repeated after a lost answer, since EC2 takes
// no idempotency token for it.
func once(o *sdk.Options) { o.RetryMaxAttempts, o.Retryer = 1, sdkaws.NopRetryer{} }
