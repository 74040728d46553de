package efs

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Removals lists what this cluster's controller asks the janitor to do, in the file systems of the region.
func (b *Backend) Removals(ctx context.Context) ([]volume.Removal, error) {
	var all []volume.Removal
	for marker := ""; ; {
		list, next, err := b.api.FileSystemPage(ctx, marker)
		if err != nil {
			return nil, fault.Wrap("list removals", "", err)
		}
		for _, f := range list {
			for _, r := range volume.Removals(f.ID, f.Tags) {
				if r.Cluster == b.opts.Owner.Cluster {
					all = append(all, r)
				}
			}
		}
		if marker = next; marker == "" {
			return all, nil
		}
	}
}

// Removed says that a removal is done: its tag makes room for others.
func (b *Backend) Removed(ctx context.Context, r volume.Removal) error {
	key, _ := r.Tag()
	err := b.api.Untag(ctx, r.FileSystem, []string{key})
	if fault.Is(err, fault.NotFound) {
		return nil // the file system went with all that was in it
	}
	return fault.Wrap("end removal", r.FileSystem, err)
}
