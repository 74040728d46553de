package objectmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
)

// ready waits until the bucket is proven to be mounted: the program runs; the mount table has its mount, of another file
// system than the tmpfs below; statfs(2) is answered, which waits until the program has looked at the bucket; and after
// that the same mount is still there. The program's exit code says nothing: s3fs ends with 0 where the bucket is missing.
func (u *unit) ready(ctx context.Context, below mount.Layer) (seen mount.Layer, err error) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		seen, err = u.seen(below)
		if err != nil {
			return seen, err
		}
		if seen.ID != 0 && u.ask(ctx) == nil {
			still, err := u.seen(below)
			if err != nil || still == seen && u.Process.alive() {
				return seen, err
			}
		}
		select {
		case <-again.C:
		case <-u.Process.done:
			return seen, u.explain()
		case <-ctx.Done():
			e := fault.New(fault.Unavailable, "mount", u.Plan.Bucket, "it is not mounted in time and was given up; does its server answer to this node?")
			e.Err = u.m.Gate.Why(u.id)
			return seen, e
		}
	}
}

// seen is the bucket's mount at the staging path; the zero Layer if there is none.
func (u *unit) seen(below mount.Layer) (mount.Layer, error) {
	layers, err := mount.Layers(u.Staging)
	if err != nil || len(layers) == 0 {
		return mount.Layer{}, err
	}
	if top := layers[len(layers)-1]; u.m.ours(top, u.handle) && top.Device != below.Device {
		return top, nil
	}
	return mount.Layer{}, nil
}

// ask waits until the program answers, or ends, or ctx does. The question itself may take longer.
func (u *unit) ask(ctx context.Context) error {
	answer := make(chan error, 1)
	u.m.asks.Go(func() { answer <- mount.Ask(u.Staging) })
	select {
	case err := <-answer:
		return err
	case <-u.Process.done:
		return errors.New("it has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// explain says why the bucket is not mounted, in the program's words, and without its credentials.
func (u *unit) explain() error {
	err := u.m.Program.Explain(u.lastWords())
	if why := u.outOfMemory(); why != "" {
		return fault.Explain(err, why)
	}
	if why := u.m.Gate.Why(u.id); why != nil {
		return fault.Explain(err, why.Error())
	}
	return err
}

// lastWords are the end of what the program wrote.
func (u *unit) lastWords() string {
	text := tail(u.dir())
	if u.Access != nil && u.Access.SecretAccessKey != "" {
		text = strings.ReplaceAll(text, u.Access.SecretAccessKey, "(secret)")
	}
	return text
}

// reserve is what the disk for files being read and written must keep free, in MiB: what the operator wants, and all but the
// volume's share of what is free now.
func (u *unit) reserve() (int64, error) {
	var st unix.Statfs_t
	if err := os.MkdirAll(u.m.Cache, 0o700); err != nil {
		return 0, err
	}
	if err := unix.Statfs(u.m.Cache, &st); err != nil {
		return 0, fmt.Errorf("measure %s: %w", u.m.Cache, err)
	}
	free := int64(st.Bavail) * st.Bsize >> 20
	if free <= u.m.Reserve {
		return 0, fault.New(fault.Limit, "mount", u.Plan.Bucket, "the disk of %s has %d MiB free, and %d are to stay free", u.m.Cache, free, u.m.Reserve)
	}
	if u.Plan.CacheMiB > 0 {
		return max(u.m.Reserve, free-u.Plan.CacheMiB), nil
	}
	return u.m.Reserve, nil
}
