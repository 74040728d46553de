package csi

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Stager executes plans of one kind on this machine; pkg/mount has one for each kind.
type Stager[P volume.Plan] interface {
	Stage(ctx context.Context, plan P, stagingPath string) error
	Unstage(ctx context.Context, handle, stagingPath string) error
	Publish(ctx context.Context, plan P, stagingPath, targetPath string, readOnly bool) error
	Unpublish(ctx context.Context, handle, targetPath string) error
}

// Meter is a Stager that can tell how full a volume is.
type Meter interface {
	Stats(ctx context.Context, handle, path string) (mount.Stats, error)
}

// Keyed is a Stager that takes the secrets of a request.
type Keyed[P volume.Plan] interface {
	StageWith(ctx context.Context, plan P, stagingPath string, secrets map[string]string) error
}

// Expander is a Stager whose volumes grow on the node.
type Expander[P volume.Plan] interface {
	Expand(ctx context.Context, plan P, stagingPath, path string, requiredBytes int64) (int64, error)
}

// Volumes is a Stager of whatever kind; [StagedBy] makes one.
type Volumes interface {
	Stager[volume.Plan]
	// StageWith ignores secrets where nothing needs them.
	Keyed[volume.Plan]
	// Expand fails where expands says no.
	Expander[volume.Plan]
	expands() bool
	// meter is nil where nothing can be measured.
	meter() Meter
}

// StagedBy makes a Stager's plans the only ones that a Node takes.
func StagedBy[P volume.Plan](s Stager[P]) Volumes {
	v := volumes[P]{Stager: s}
	v.expander, _ = s.(Expander[P])
	return v
}

type volumes[P volume.Plan] struct {
	Stager[P]
	expander Expander[P] // nil: nothing is to be done on the node
}

func (v volumes[P]) Stage(ctx context.Context, plan volume.Plan, stagingPath string) error {
	own, err := v.own(plan)
	if err != nil {
		return err
	}
	return v.Stager.Stage(ctx, own, stagingPath)
}

func (v volumes[P]) StageWith(ctx context.Context, plan volume.Plan, stagingPath string, secrets map[string]string) error {
	keyed, ok := v.Stager.(Keyed[P])
	if !ok {
		return v.Stage(ctx, plan, stagingPath)
	}
	own, err := v.own(plan)
	if err != nil {
		return err
	}
	return keyed.StageWith(ctx, own, stagingPath, secrets)
}

func (v volumes[P]) Publish(ctx context.Context, plan volume.Plan, stagingPath, targetPath string, readOnly bool) error {
	own, err := v.own(plan)
	if err != nil {
		return err
	}
	return v.Stager.Publish(ctx, own, stagingPath, targetPath, readOnly)
}

func (v volumes[P]) Expand(ctx context.Context, plan volume.Plan, stagingPath, path string, requiredBytes int64) (int64, error) {
	own, err := v.own(plan)
	if err != nil {
		return 0, err
	}
	return v.expander.Expand(ctx, own, stagingPath, path, requiredBytes)
}

func (v volumes[P]) expands() bool { return v.expander != nil }

func (v volumes[P]) meter() Meter {
	m, _ := v.Stager.(Meter)
	return m
}

func (v volumes[P]) own(plan volume.Plan) (P, error) {
	own, ok := plan.(P)
	if !ok {
		return own, fmt.Errorf("a %T is no %T", plan, own)
	}
	return own, nil
}
