package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// toolbox runs external tools from fixed folders, without a shell.
type toolbox struct {
	dirs     []string
	packages string // that have the tools, for the error where one is missing
}

func standardTools(packages string) toolbox {
	return toolbox{dirs: []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}, packages: packages}
}

// read runs a tool that only reads and is killed when ctx ends; it returns its standard output.
func (b toolbox) read(ctx context.Context, t *task, name string, args ...string) (string, error) {
	return b.run(ctx, ctx, t, "", name, args)
}

// version returns what a tool says of itself with -V, on standard error as e2fsprogs do.
func (b toolbox) version(ctx context.Context, t *task, name string) (string, error) {
	path, err := b.find(name)
	if err != nil {
		return "", err
	}
	var said string
	err = t.run(ctx, "run", name, func() error {
		p := program{path: path, args: []string{"-V"}}
		defer p.close()
		if err := p.open(); err != nil {
			return err
		}
		err := p.run(ctx)
		said = firstBytes(p.stderr)
		return err
	})
	if err != nil {
		return "", err
	}
	return said, nil
}

// run runs a tool that is killed when life ends, and is waited for until ctx ends; it returns its standard output.
func (b toolbox) run(ctx, life context.Context, t *task, input, name string, args []string) (string, error) {
	path, err := b.find(name)
	if err != nil {
		return "", err
	}
	var out string
	err = t.run(ctx, "run", name, func() (err error) {
		out, err = execute(life, input, path, args)
		return err
	})
	if err != nil {
		return "", err
	}
	return out, nil
}

// write runs a tool that writes to a disk, the last of args. Nothing here ever kills it: a half-written file system is worse
// than a late one. When ctx ends the caller gets fault.Pending, and the tool goes on and keeps the volume.
func (b toolbox) write(ctx context.Context, t *task, name string, args ...string) error {
	return b.feed(ctx, t, "", name, args...)
}

// feed is write with a standard input.
func (b toolbox) feed(ctx context.Context, t *task, input, name string, args ...string) error {
	path, err := b.find(name)
	if err != nil {
		return err
	}
	p := &program{path: path, input: input}
	p.attr.Setpgid = true // a terminal's Ctrl-C is not for it
	return t.run(ctx, "run", name, func() error {
		defer p.close()
		if err := p.open(); err != nil {
			return err
		}
		watch, err := newProgress(name, p)
		if err != nil {
			return err
		}
		defer watch.close()
		p.args = slices.Concat(watch.args, args)
		ends, err := t.begins(&toolRun{name: name, disk: args[len(args)-1], since: time.Now(), progress: watch.read})
		if err != nil {
			return err
		}
		defer ends()
		return killed(name, p.run(context.WithoutCancel(ctx)))
	})
}

// killed explains that a tool was ended by a signal, which nothing here sends.
func killed(name string, err error) error {
	var tool *ToolError
	if !errors.As(err, &tool) || tool.Signal == "" {
		return err
	}
	return &fault.Error{Op: "run", Subject: name, Kind: fault.Unavailable, Err: err,
		Message: "the tool was killed from outside the driver: for want of memory (see the kernel log), by the end of its container, or by an operator; the next call looks at what it left"}
}

// leftWriting names a tool that writes to the disk and is not this process's: its node plugin has ended before it.
func (d device) leftWriting() string {
	for _, p := range processesWith(d.openIn) {
		_, name, _ := strings.Cut(p, "(")
		switch name = strings.TrimSuffix(name, ")"); name {
		case "e2fsck", "resize2fs", "btrfstune":
			return p
		default:
			if strings.HasPrefix(name, "mkfs.") {
				return p
			}
		}
	}
	return ""
}

func (b toolbox) find(name string) (string, error) {
	for _, dir := range b.dirs {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fault.New(fault.Unsupported, "run", name, "the tool is not installed on this node; install %s", b.packages)
}
