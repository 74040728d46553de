package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/directory"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// ChildMode is the argument with which a program that uses [NFS] runs itself; its main function then calls [Child].
const ChildMode = "nfs-child"

// A call that reaches a server may hang as long as the server does, and only the end of its process ends it. So every
// such call is made by a child.
type order struct {
	Do       string            `json:"do"` // a key of orders
	Path     string            `json:"path"`
	Flags    int               `json:"flags,omitempty"`
	Target   string            `json:"target,omitempty"`
	ReadOnly bool              `json:"readOnly,omitempty"`
	Program  string            `json:"program,omitempty"` // that mounts Source on Path
	Source   string            `json:"source,omitempty"`
	Options  []string          `json:"options,omitempty"`
	Time     time.Duration     `json:"time,omitempty"` // after which removing stops, and can go on later
	Root     *volume.Owner     `json:"root,omitempty"`
	Create   *volume.Directory `json:"create,omitempty"`
	Remove   *volume.Removal   `json:"remove,omitempty"`
}

// answer is what a child writes: what it found, or why it failed.
type answer struct {
	Stats   Stats      `json:"stats"`
	Files   int        `json:"files,omitempty"`
	Lost    bool       `json:"lost,omitempty"` // the error is one of writing data that was buffered
	Failed  bool       `json:"failed,omitempty"`
	Kind    fault.Kind `json:"kind,omitempty"`
	Message string     `json:"message,omitempty"`
	Errno   unix.Errno `json:"errno,omitempty"`
	Tool    *ToolError `json:"tool,omitempty"`
}

// orders are all that a child can do.
var orders = map[string]func(context.Context, order, *answer) error{
	"look": func(_ context.Context, o order, _ *answer) error { return lookAt(o.Path) },
	"unmount": func(_ context.Context, o order, _ *answer) error {
		return unix.Unmount(o.Path, o.Flags|unix.UMOUNT_NOFOLLOW)
	},
	"bind": func(_ context.Context, o order, _ *answer) error { return bind(o.Path, o.Target, o.ReadOnly, false) },
	"measure": func(_ context.Context, o order, a *answer) (err error) {
		dir, err := os.OpenFile(o.Path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer func() { _ = dir.Close() }()
		a.Stats, err = statsOf(dir)
		return err
	},
	"sync": func(_ context.Context, o order, a *answer) (err error) {
		a.Lost, err = syncAt(o.Path)
		return err
	},
	"prepare": prepareRoot,
}

// lookAt proves that the server of a mount answers: statfs(2) of NFS always asks it.
func lookAt(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	_, err := os.Stat(path)
	return err
}

// prepareRoot works on the root of a file system, which only this process sees.
func prepareRoot(ctx context.Context, o order, a *answer) (err error) {
	root, err := mountApart(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if o.Root != nil {
		err = directory.OwnRoot(root, *o.Root)
	}
	if err == nil && o.Create != nil {
		err = directory.Make(root, *o.Create)
	}
	if err == nil && o.Remove != nil {
		ctx, cancel := context.WithTimeout(ctx, o.Time)
		defer cancel()
		err = directory.Remove(ctx, root, *o.Remove, func(n int) { a.Files += n })
	}
	return err
}

// Child does what one line on in says and writes what came of it to out.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	do, ok := orders[o.Do]
	if !ok {
		return fmt.Errorf("no order is called %q", o.Do)
	}
	var a answer
	if err := do(ctx, o, &a); err != nil {
		a.Failed, a.Kind, a.Message = true, fault.KindOf(err), err.Error()
		_ = errors.As(err, &a.Errno) // most errors of children are the kernel's
		_ = errors.As(err, &a.Tool)
	}
	return json.NewEncoder(out).Encode(a)
}

// childError is an error that happened in a child, in its own words.
type childError struct{ answer }

func (e *childError) Error() string { return e.Message }

// Unwrap gives the kernel's or the tool's own error.
func (e *childError) Unwrap() error {
	switch {
	case e.Tool != nil:
		return e.Tool
	case e.Errno != 0:
		return e.Errno
	default:
		return nil
	}
}

// children runs children.
type children struct{ argv []string }

// run has a child do something. The child lives until life ends, and is killed then; it is waited for until ctx ends.
// Kinds: the child's own, Unavailable (life ended first), UnknownOutcome (ctx ended first).
func (c children) run(ctx, life context.Context, t *task, o order) (a answer, err error) {
	input, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	var found answer
	err = t.run(ctx, o.Do, o.Path, func() (err error) {
		found, err = c.answer(life, o, input)
		return err
	})
	if err != nil {
		return a, err
	}
	if a = found; !a.Failed {
		return a, nil
	}
	return a, &fault.Error{Op: o.Do, Subject: o.Path, Kind: a.Kind, Err: &childError{a}}
}

// answer starts a child and returns what it has written. A whole answer counts however the child ended afterwards.
func (c children) answer(life context.Context, o order, input []byte) (a answer, err error) {
	p := program{path: c.argv[0], args: c.argv[1:], input: string(input)}
	p.attr.Setpgid = true
	p.cancel = func(pid int) error { return unix.Kill(-pid, unix.SIGKILL) } // with what it started
	if o.Program != "" {                                                    // it would keep a mount namespace
		p.attr.Pdeathsig = unix.SIGKILL
	}
	defer p.close()
	if err := p.open(); err != nil {
		return a, err
	}
	begin := time.Now()
	ended := p.run(life)
	out := firstBytes(p.stdout)
	wrong := json.Unmarshal([]byte(out), &a)
	switch {
	case wrong == nil:
		return a, nil
	case life.Err() != nil:
		return answer{}, fault.New(fault.Unavailable, o.Do, o.Path, "the server has not answered within %s", waited(begin))
	case ended != nil:
		return answer{}, fmt.Errorf("run %s: %w", c.argv[0], ended)
	default:
		return answer{}, fmt.Errorf("a child answers %q: %w", out, wrong)
	}
}
