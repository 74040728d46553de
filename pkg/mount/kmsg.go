package mount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// moreInLog is what an error says where the kernel has not told the reason to the caller of mount.
const moreInLog = "the kernel log (dmesg) says more"

// kernelLog is what the kernel writes about one disk into its log from a moment on: file systems say there, and only there,
// why most mounts fail. The zero value knows nothing, as where a process may not read the log.
type kernelLog struct {
	records *os.File // each read(2) returns one, see https://docs.kernel.org/admin-guide/abi-testing.html on /dev/kmsg
	name    string   // of the disk, as the kernel calls it
	fsType  string
}

func followKernelLog(n devno, fsType string) kernelLog {
	link, err := os.Readlink(filepath.Join("/sys/dev/block", n.String()))
	if err != nil {
		return kernelLog{}
	}
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return kernelLog{}
	}
	if _, err := unix.Seek(int(f.Fd()), 0, io.SeekEnd); err != nil {
		_ = f.Close()
		return kernelLog{}
	}
	return kernelLog{records: f, name: filepath.Base(link), fsType: fsType}
}

func (l kernelLog) close() {
	if l.records != nil {
		_ = l.records.Close()
	}
}

// explain adds to the error of a mount what the kernel has logged about the disk, where the kernel said nothing else.
func (l kernelLog) explain(err error) error {
	var e *fault.Error
	if l.records == nil || !errors.As(err, &e) || !strings.Contains(e.Message, moreInLog) {
		return err
	}
	if lines := l.lines(); len(lines) > 0 {
		e.Message = strings.Replace(e.Message, moreInLog, "the kernel logged: "+strings.Join(lines, "; "), 1)
	}
	return err
}

// lines returns the first few messages about the disk that are no mere information; or, where there are none, those of the
// file system's code that name no disk.
func (l kernelLog) lines() []string {
	var out, general []string
	record := make([]byte, 8192)
	for len(out) < 4 {
		n, err := unix.Read(int(l.records.Fd()), record)
		if errors.Is(err, unix.EPIPE) { // records were overwritten
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		prefix, text, _ := strings.Cut(string(record[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		var priority int
		if _, err := fmt.Sscanf(prefix, "%d,", &priority); err != nil || priority&7 > 5 {
			continue
		}
		words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		switch {
		case slices.Contains(words, l.name):
			out = append(out, text)
		case strings.HasPrefix(strings.ToLower(text), l.fsType) && (!strings.Contains(text, "(") || strings.Contains(text, "<unknown>")):
			general = append(general, text)
		}
	}
	if len(out) == 0 {
		return general[:min(len(general), 4)]
	}
	return out
}
