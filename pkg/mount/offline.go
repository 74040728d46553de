package mount

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// For how long, and how often, what finds a disk busy is tried again: what probes new disks, such as LVM or multipath, opens
// them exclusively for a moment, also right after they were unmounted.
const (
	busyLimit = time.Second
	busyPause = 100 * time.Millisecond
)

// offline runs a tool that writes to a disk nobody else may use: it waits until the disk is free, and repeats the tool where
// another process was faster. Kinds: InUse (with the disk's users), the tool's own.
func (b *Block) offline(ctx context.Context, t *task, d device, tool string, args ...string) error {
	err := whileBusy(ctx, busyTool, func() error {
		if err := b.exclusive(ctx, t, d); err != nil {
			return err
		}
		if err := b.sysfs.verify(d); err != nil {
			return err
		}
		return b.tools.write(ctx, t, tool, append(slices.Clone(args), d.node)...)
	})
	if busyTool(err) {
		return b.inUse(ctx, t, d, "run "+tool, err)
	}
	return err
}

// inUse is an error that says who uses the disk. Kinds: InUse, Pending (a tool that an earlier node plugin began).
func (b *Block) inUse(ctx context.Context, t *task, d device, op string, busy error) error {
	var who, tool string
	if err := t.run(context.WithoutCancel(ctx), "find users", d.node, func() error { who, tool = d.users(), d.leftWriting(); return nil }); err != nil {
		return err
	}
	if tool != "" {
		return fault.New(fault.Pending, op, d.node, "process %s still writes to the disk, which a node plugin began that has ended, or an operator; retry when it is done", tool)
	}
	return &fault.Error{Op: op, Subject: d.node, Kind: fault.InUse, Message: "the disk is still in use: " + who, Err: busy}
}

// busyTool reports whether a tool refused a disk because something else uses it. The tools say so in words only (their
// locale is C): e2fsprogs, xfsprogs, btrfs-progs, util-linux.
func busyTool(err error) bool {
	var e *ToolError
	if !errors.As(err, &e) || e.ExitCode == 0 {
		return false
	}
	return slices.ContainsFunc([]string{"Device or resource busy", " is in use", " in use by the system", " is mounted", "contains a mounted filesystem"},
		func(text string) bool { return strings.Contains(e.Output, text) })
}

func busyErrno(err error) bool { return errors.Is(err, unix.EBUSY) }

// whileBusy repeats try as long as it finds the disk busy, for a second.
func whileBusy(ctx context.Context, busy func(error) bool, try func() error) error {
	for end := time.Now().Add(busyLimit); ; {
		err := try()
		if !busy(err) || time.Now().After(end) {
			return err
		}
		timer := time.NewTimer(busyPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}
