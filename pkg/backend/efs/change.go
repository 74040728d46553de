package efs

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	opExpand = "expand"
	opModify = "modify"
)

// Expand answers at once: EFS grows by itself, and only the size that was agreed on is
// written down, where there is something to write it on.
func (b *Backend) Expand(ctx context.Context, handle string, size volume.Range) (int64, error) {
	bytes, err := size.Agreed()
	if err != nil {
		return 0, fault.New(fault.OutOfRange, opExpand, handle, "%v", err)
	}
	h, err := parse(opExpand, handle)
	if err != nil {
		return 0, err
	}
	f, err := b.system(ctx, opExpand, h.Root)
	if err != nil {
		return 0, err
	}
	id, tags := f.ID, f.Tags
	switch {
	case h.AccessPoint != "":
		a, err := b.point(ctx, opExpand, h)
		if err != nil {
			return 0, err
		}
		id, tags = a.ID, a.Tags
	case h.Path != "":
		return bytes, nil
	}
	now := bytesOf(tags)
	if size.LimitBytes > 0 && now > size.LimitBytes {
		return 0, fault.New(fault.OutOfRange, opExpand, handle, "it has %d bytes already, more than limit_bytes %d", now, size.LimitBytes)
	}
	if bytes <= now {
		return now, nil
	}
	return bytes, fault.Wrap(opExpand, handle, b.api.Tag(ctx, id, map[string]string{TagBytes: fmt.Sprint(bytes)}))
}

// Modify changes the throughput of a file system; what is so already costs no call.
func (b *Backend) Modify(ctx context.Context, handle string, parameters map[string]string) error {
	values, err := MutableParameters().Decode(parameters)
	if err != nil {
		return fault.New(fault.Invalid, opModify, handle, "%v", err)
	}
	h, err := parse(opModify, handle)
	if err != nil {
		return err
	}
	if h.Path != "" || h.AccessPoint != "" {
		return fault.New(fault.Invalid, opModify, handle, "the throughput is the file system's, which this volume shares with others; change it there")
	}
	f, err := b.system(ctx, opModify, h.Root)
	if err != nil {
		return err
	}
	t, err := throughputOf(values, f.Throughput)
	switch {
	case err != nil:
		return fault.New(fault.Invalid, opModify, handle, "%v", err)
	case t == f.Throughput && f.State == efs.StateAvailable:
		return nil
	case t.Mode == "elastic" && f.PerformanceMode == "maxIO":
		return fault.New(fault.Invalid, opModify, handle, "%s elastic does not go with %s maxIO, which the file system has", keyThroughput, keyPerformance)
	}
	if f, err = b.available(ctx, opModify, f.ID); err != nil {
		return err
	}
	if t != f.Throughput {
		if err := b.api.UpdateFileSystem(ctx, f.ID, t); err != nil {
			return fault.Wrap(opModify, handle, err)
		}
	}
	_, err = b.available(ctx, opModify, f.ID)
	return err
}
