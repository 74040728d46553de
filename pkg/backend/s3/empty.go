package s3

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

const (
	// deletions is how many deletions of up to 1,000 versions are under way at one time.
	deletions = 4
	// lastPage is the time that must be left to begin another page: with less, what was
	// done is told before the caller gives up.
	lastPage = 2 * time.Second
)

// empty deletes every version, delete marker and unfinished upload whose key begins with
// prefix ("": all). It ends with fault.Pending before the context does.
func empty(ctx context.Context, api API, bucket, prefix string) error {
	e := &emptying{api: api, bucket: bucket, prefix: prefix}
	if err := e.uploads(ctx); err != nil {
		return err
	}
	return e.versions(ctx)
}

type emptying struct {
	api            API
	bucket, prefix string
	deleted        atomic.Int64
	first          s3.Version // that the last pass listed
}

// late reports whether the caller's time is nearly over.
func (e *emptying) late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) <= lastPage
}

// unfinished is the answer then.
func (e *emptying) unfinished() error {
	return fault.New(fault.Pending, opDelete, e.bucket+"/"+e.prefix, "%d versions were deleted in this call, and there are more; the next call goes on", e.deleted.Load())
}

// versions deletes until a list from the start has nothing new: there are servers that lose their way in a list of which
// pages before were deleted meanwhile.
func (e *emptying) versions(ctx context.Context) error {
	for last := (s3.Version{}); ; last = e.first {
		before := e.deleted.Load()
		e.first = s3.Version{}
		if err := e.pass(ctx); err != nil || e.deleted.Load() == before {
			return err
		}
		if e.first == last {
			return fault.New(fault.Pending, opDelete, e.bucket+"/"+e.prefix, "the server says that %q was deleted, and lists it again: stop what writes it; "+
				"if nothing does, its name has characters that the server's lists cannot show: delete it on the server, by its true name", last.Key)
		}
	}
}

// pass deletes what one list has.
func (e *emptying) pass(ctx context.Context) error {
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(deletions)
	late := false
	list := func() error {
		for page := (s3.VersionPage{More: true}); page.More; {
			if late = e.late(ctx); late {
				return nil
			}
			next, err := e.api.VersionPage(grouped, e.bucket, e.prefix, page)
			if err != nil {
				return err
			}
			for _, v := range next.Versions {
				if !strings.HasPrefix(v.Key, e.prefix) {
					return fault.New(fault.Internal, opDelete, e.bucket, "the server listed %q under the prefix %q; nothing more is deleted", v.Key, e.prefix)
				}
			}
			if len(next.Versions) > 0 {
				if e.first == (s3.Version{}) {
					e.first = next.Versions[0]
				}
				group.Go(func() error { return e.delete(grouped, next.Versions) })
			}
			page = next
		}
		return nil
	}
	listed := list()
	if err := group.Wait(); err != nil { // a failed deletion ends the list too, and is the reason
		return err
	}
	if late {
		return e.unfinished() // counts what was under way too
	}
	return listed
}

func (e *emptying) delete(ctx context.Context, versions []s3.Version) error {
	refused, err := e.api.DeleteVersions(ctx, e.bucket, versions)
	if err != nil {
		return err
	}
	e.deleted.Add(int64(len(versions) - len(refused)))
	for _, r := range refused {
		switch r.Code {
		case "NoSuchKey", "NoSuchVersion": // gone already
		case "InternalError", "SlowDown", "ServiceUnavailable":
			return fault.New(fault.Pending, opDelete, e.bucket+"/"+r.Key, "S3 could not delete it for now (%s); the next call goes on", r.Code)
		default:
			return fault.New(fault.InUse, opDelete, e.bucket+"/"+r.Key, "S3 keeps this object, version %s: %s (%s). An object lock or a policy protects it, and is respected: wait until it ends, or end it, then delete the volume again; %d versions of the volume were deleted",
				r.ID, r.Message, r.Code, e.deleted.Load())
		}
	}
	return nil
}

func (e *emptying) uploads(ctx context.Context) error {
	for {
		if e.late(ctx) {
			return e.unfinished()
		}
		list, err := e.api.Uploads(ctx, e.bucket, e.prefix)
		if err != nil || len(list) == 0 {
			return err
		}
		group, grouped := errgroup.WithContext(ctx)
		group.SetLimit(deletions)
		for _, u := range list {
			if !strings.HasPrefix(u.Key, e.prefix) {
				return fault.New(fault.Internal, opDelete, e.bucket, "the server listed an upload of %q under the prefix %q; nothing more is deleted", u.Key, e.prefix)
			}
			group.Go(func() error { return e.api.AbortUpload(grouped, e.bucket, u) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}
