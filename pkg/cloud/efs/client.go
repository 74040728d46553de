package efs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Options shape a Client.
type Options struct {
	// AbsenceInterval replaces aws.AbsenceInterval; only for emulators whose clock runs
	// faster. Zero means the constant.
	AbsenceInterval time.Duration
	// Recorder is told of every batched read; may be nil.
	Recorder Recorder
}

// Recorder is told of every batched read: what is asked for and how many keys share the call.
type Recorder interface {
	Batch(name string, keys int)
}

// Client calls EFS. It is safe for concurrent use; Close it to end its batchers.
type Client struct {
	api      *sdk.Client
	gate     *aws.Gate
	absences *aws.Absences

	systems *batch.Batcher[string, FileSystem]    // by id
	tokens  *batch.Batcher[string, FileSystem]    // by creation token
	targets *batch.Batcher[string, []MountTarget] // by file system
}

// New makes a Client on a session's configuration.
func New(cfg sdkaws.Config, opts Options) *Client {
	c := &Client{api: sdk.NewFromConfig(cfg), gate: aws.NewGate(sdk.ServiceID), absences: aws.NewAbsences(opts.AbsenceInterval)}
	c.systems = batch.New(c.fetchSystems, opts.batch("file_systems", 0, 0))
	c.tokens = batch.New(c.fetchTokens, opts.batch("file_systems_by_token", 0, 0))
	// EFS describes the mount targets of one file system at a time: one key is one call.
	c.targets = batch.New(c.fetchTargets, opts.batch("mount_targets", 1, 16))
	return c
}

func (o Options) batch(name string, keys, calls int) batch.Options {
	out := batch.Options{MaxKeys: keys, MaxCalls: calls}
	if o.Recorder != nil {
		out.Observe = func(keys int) { o.Recorder.Batch(name, keys) }
	}
	return out
}

// Close ends the batchers and waits for their calls.
func (c *Client) Close() {
	c.systems.Close()
	c.tokens.Close()
	c.targets.Close()
}

// AbsenceInterval returns how far two not-found answers must lie apart.
func (c *Client) AbsenceInterval() time.Duration { return c.absences.Interval }

// Tag sets tags of a file system or an access point, overwriting values of equal keys.
func (c *Client) Tag(ctx context.Context, id string, tags map[string]string) error {
	_, err := aws.Do(ctx, c.gate, mutate("TagResource", id), func(ctx context.Context) (*sdk.TagResourceOutput, error) {
		return c.api.TagResource(ctx, &sdk.TagResourceInput{ResourceId: &id, Tags: toTags(tags)})
	})
	return err
}

// Untag removes tags of a file system or an access point.
func (c *Client) Untag(ctx context.Context, id string, keys []string) error {
	_, err := aws.Do(ctx, c.gate, mutate("UntagResource", id), func(ctx context.Context) (*sdk.UntagResourceOutput, error) {
		return c.api.UntagResource(ctx, &sdk.UntagResourceInput{ResourceId: &id, TagKeys: keys})
	})
	return err
}

// get reads one key through a batcher; an ended context becomes a fault too.
func get[V any](ctx context.Context, b *batch.Batcher[string, V], op, key string) (V, bool, error) {
	v, found, err := b.Get(ctx, key)
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		err = aws.Classify(err, read(op, key))
	}
	return v, found, err
}

func fromTags(tags []types.Tag) map[string]string {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		out[sdkaws.ToString(t.Key)] = sdkaws.ToString(t.Value)
	}
	return out
}

// toTags sorts by key, so that equal requests are equal on the wire too.
func toTags(tags map[string]string) []types.Tag {
	out := make([]types.Tag, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: sdkaws.String(k), Value: sdkaws.String(tags[k])})
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
