package mount

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// toolRun is a tool that is writing to a disk.
type toolRun struct {
	name, disk string
	since      time.Time
	progress   func() string // how far it is; "" if it does not say
}

// String says what runs since when, and how far it is.
func (r *toolRun) String() string {
	s := fmt.Sprintf("%s has been working on %s for %s", r.name, r.disk, time.Since(r.since).Round(time.Second))
	if p := r.progress(); p != "" {
		s += " (" + p + ")"
	}
	return s
}

// progress reads how far a tool says that it is.
type progress struct {
	args []string // that make the tool say it
	read func() string

	near, far *os.File
	done      chan struct{}
}

// newProgress prepares a tool to say how far it is, if it can.
func newProgress(name string, p *program) (*progress, error) {
	w := &progress{read: func() string { return "" }}
	switch name {
	case "e2fsck":
		return w, w.passes(p)
	case "resize2fs":
		w.args = []string{"-p"}
		w.read = func() string { return resizeProgress(firstBytes(p.stdout)) }
	}
	return w, nil
}

// passes has e2fsck write to a descriptor how far it is, see -C in e2fsck(8). It is a socket of messages: when this process
// ends, an unread message is an error that e2fsck ignores, where a pipe would kill or stop it.
func (w *progress) passes(p *program) error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(ends[0], true); err != nil { // so that Close ends a Read
		return os.NewSyscallError("fcntl", err)
	}
	w.near, w.far, w.done = os.NewFile(uintptr(ends[0]), "progress"), os.NewFile(uintptr(ends[1]), "progress"), make(chan struct{})
	p.extra, w.args = w.far, []string{"-C", "3"}
	var last atomic.Pointer[string]
	w.read = func() string {
		if text := last.Load(); text != nil {
			return fsckProgress(*text)
		}
		return ""
	}
	go func() {
		defer close(w.done)
		buffer := make([]byte, 512)
		for {
			n, err := w.near.Read(buffer)
			if err != nil {
				return
			}
			text := string(buffer[:n])
			last.Store(&text)
		}
	}()
	return nil
}

func (w *progress) close() {
	if w.near == nil {
		return
	}
	_, _ = w.near.Close(), w.far.Close()
	<-w.done
}

// fsckProgress reads one line of e2fsck: pass, how far of how much, and the disk.
func fsckProgress(line string) string {
	var pass int
	var now, most uint64
	if n, err := fmt.Sscanf(line, "%d %d %d", &pass, &now, &most); n != 3 || err != nil || most == 0 {
		return ""
	}
	return fmt.Sprintf("pass %d of 5, %d%%", pass, min(now*100/most, 100))
}

// resizeProgress reads what resize2fs -p has written so far: for each of its passes a name and a bar of 40 dashes, which it
// goes back over and writes X upon.
func resizeProgress(out string) string {
	bar := strings.LastIndex(out, strings.Repeat("-", 40))
	if bar < 0 {
		return ""
	}
	name := strings.TrimSpace(out[strings.LastIndex(out[:bar], "\n")+1 : bar])
	return fmt.Sprintf("%s, %d%%", strings.ToLower(name), min(strings.Count(out[bar:], "X"), 40)*100/40)
}
