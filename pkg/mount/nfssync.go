package mount

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// flush sends to the server what programs have written through any mount of the same file system, and waits for it. Nothing
// else does so reliably: umount(2) only does it for the last mount, and never reports an error. stale means that the server
// does not know the mounted directory any more, so that nothing can be sent.
//
// The kernel tells once that something was refused, also if it was written through another volume of the same superblock. The
// other volumes report it when they are flushed.
//
// A server that does not answer is not tried: syncfs(2) cannot be interrupted, and would keep even a container from ending.
func (n *NFS) flush(ctx context.Context, t *task, h volume.Handle, at spot) (stale bool, err error) {
	if err := n.losses.take(h.String()); err != nil {
		return false, err
	}
	err = n.look(ctx, t, at.point)
	switch {
	case errors.Is(err, unix.ESTALE):
		return true, nil
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.UnknownOutcome):
		return false, unwritten(at.point, n.explain(ctx, h.Root, at.entry, err))
	}
	limit := n.Wait
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	wait, cancel := soon(ctx, limit)
	defer cancel()
	a, err := n.children.run(wait, context.WithoutCancel(ctx), t, order{Do: "sync", Path: at.point})
	switch {
	case fault.Is(err, fault.UnknownOutcome):
		return false, unwritten(at.point, err)
	case a.Lost:
		return false, n.losses.tell(err, h.String(), at.stagedWith(h.String()))
	case errors.Is(err, unix.ESTALE):
		return true, nil
	case errors.Is(err, unix.EACCES): // even the directory's owner may not read it; unmounting the last mount writes, too
		return false, nil
	}
	return false, err
}

// stagedWith returns the other volumes that are staged from the same superblock, by their handles.
func (p spot) stagedWith(handle string) []string {
	var out []string
	for _, e := range p.mounts {
		l := p.mounts.labelOf(e)
		if other := l.handle(); e.number == p.entry.number && l == stagedLabel(other) && other != handle && !slices.Contains(out, other) {
			out = append(out, other)
		}
	}
	return out
}

// losses are the errors of refused writes that volumes of a shared superblock have still to report, by their handles.
type losses struct {
	mu      sync.Mutex
	pending map[string]error
}

// tell explains the error of writes that a server refused, and keeps it for the other volumes that may have made them.
func (l *losses) tell(err error, handle string, others []string) error {
	const lost = "the server did not take all that programs on this node had written to this file system, and that is lost; " +
		"find out why (quota, permissions), then unstage again: it is reported once"
	if len(others) == 0 {
		return fault.Explain(err, lost)
	}
	err = fault.Explain(err, lost+" for each volume whose programs may have written it: "+strings.Join(append([]string{handle}, others...), ", "))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = map[string]error{}
	}
	for _, handle := range others {
		l.pending[handle] = err
	}
	return err
}

// take returns what a volume has still to report, once.
func (l *losses) take(handle string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.pending[handle]
	delete(l.pending, handle)
	return err
}

// unwritten says that a mount stays because data may not have reached the server.
func unwritten(point string, cause error) error {
	return &fault.Error{Op: "unmount", Subject: point, Kind: fault.Pending, Err: cause,
		Message: "what programs have written may not all have reached the server, so it stays mounted until that is done; " +
			"if the server is gone for good, `umount -f -l " + point + "` on this node gives up what is missing"}
}

// syncAt sends all that was written to the file system of a mount, and waits for it. lost means that some of it was refused.
func syncAt(path string) (lost bool, err error) {
	fd, err := openDir(path)
	if err != nil {
		return false, err
	}
	err = unix.Syncfs(fd)
	return err != nil, errors.Join(os.NewSyscallError("syncfs", err), unix.Close(fd))
}

// openDir opens a directory as root or, where a server gives root no rights, as its owner. The process must end soon: its
// thread keeps that user.
func openDir(path string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if fd, err = unix.Open(path, flags, 0); !errors.Is(err, unix.EACCES) {
		return fd, os.NewSyscallError("open", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return -1, os.NewSyscallError("lstat", err)
	}
	runtime.LockOSThread()
	if err := errors.Join(unix.Setfsgid(int(st.Gid)), unix.Setfsuid(int(st.Uid))); err != nil {
		return -1, err
	}
	fd, err = unix.Open(path, flags, 0)
	return fd, os.NewSyscallError("open", err)
}
