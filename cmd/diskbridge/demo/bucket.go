package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// objects is the kind of S3's: a bucket that s3fs mounts.
const objects = "S3"

// buckets plays S3's part: two nodes share a bucket, and one loses its node plugin while a program writes.
func (s *scene) buckets(ctx context.Context) error {
	s.section("A bucket that two nodes share: S3")
	server, missing := s.bucketsMissing()
	if missing != "" {
		s.note("left out: %s", missing)
		return nil
	}
	own := &scene{narrator: s.narrator, options: s.options, dir: filepath.Join(s.dir, "s3"), driver: sandbox.S3Driver, s3Server: server}
	if err := os.Mkdir(own.dir, 0o700); err != nil {
		return err
	}
	err := own.shareBucket(ctx)
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	for _, c := range own.children {
		s.children = append(s.children, stopped{c}) // whose logs tell why, if something failed
	}
	return errors.Join(err, own.strike(cleanup, err != nil))
}

// stopped is a child that another scene stops.
type stopped struct{ child }

func (stopped) stop(context.Context) error { return nil }

// bucketsMissing finds the S3 server, or says what is not there to play S3's part.
func (s *scene) bucketsMissing() (server, missing string) {
	found, _ := filepath.Glob(filepath.Join(s.options.Bin, "tools", "versitygw-v*")) // the pattern is constant
	switch _, err := exec.LookPath("s3fs"); {
	case !s.options.Root:
		return "", "it mounts, which needs root"
	case err != nil:
		return "", "s3fs is missing; install the package s3fs (Debian, Ubuntu: apt-get install s3fs)"
	case len(found) == 0:
		return "", "the S3 server behind the emulator is missing; `make demo` builds it"
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return "", "this machine's kernel has no FUSE (/dev/fuse); try modprobe fuse"
	}
	return found[len(found)-1], ""
}

func (s *scene) shareBucket(ctx context.Context) error {
	if err := s.setUp(ctx); err != nil {
		return err
	}
	s.section("One bucket on both")
	one, err := s.provision(ctx, "bucket", objects, 1, "")
	if err != nil {
		return err
	}
	two := &disk{name: "bucket-2", kind: objects, id: one.id, context: one.context, dir: filepath.Join(s.dir, "bucket-2")}
	one.attachedTo, two.attachedTo = s.nodes[0], s.nodes[1]
	err = inOrder(
		func() error { return os.MkdirAll(two.dir, 0o750) },
		func() error { return s.mount(ctx, one) },
		func() error { return s.mount(ctx, two) },
		func() error { return s.write(ctx, one, "one", fromOne) },
		func() error { return s.read(ctx, two, "one", fromOne) },
		func() error { return s.write(ctx, two, "two", fromTwo) },
		func() error { return s.read(ctx, one, "two", fromTwo) },
		func() error { return s.rename(ctx, one, "two", "renamed") },
		func() error { return s.read(ctx, two, "renamed", fromTwo) },
		func() error { return s.loseNode(ctx, one) },
		func() error { return s.release(ctx, two) },
		func() error { return s.retire(ctx, one) },
		func() error { return s.emulatorHoldsNothing(ctx) },
	)
	if err == nil {
		return nil
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	return errors.Join(err, s.unmount(cleanup, two)) // the bucket itself is taken away by strike
}

// rename gives a file another name, which in a bucket is a copy.
func (s *scene) rename(ctx context.Context, d *disk, from, to string) error {
	return s.step(ctx, fmt.Sprintf("rename %q to %q", from, to), func(context.Context) (string, error) {
		old, _ := d.place(from)
		path, _ := d.place(to)
		err := os.Rename(old, path)
		if _, left := os.Lstat(old); err == nil && !errors.Is(left, fs.ErrNotExist) {
			err = fmt.Errorf("the old name is still there (%w)", left)
		}
		return s.short(path), err
	})
}

func (s *scene) emulatorHoldsNothing(ctx context.Context) error {
	return s.step(ctx, "look what is left in the emulator", s.emulatorEmpty)
}

// loseNode kills the node plugin of a disk while a program writes files to it, and starts it again.
func (s *scene) loseNode(ctx context.Context, d *disk) error {
	written, stop := 0, make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := os.WriteFile(filepath.Join(d.target(), fmt.Sprintf("file-%d", written)), []byte(fromOne), 0o600); err != nil {
				ended <- err
				return
			}
			written++
		}
	}()
	err := s.step(ctx, "kill the node plugin while a program writes", func(ctx context.Context) (string, error) {
		if err := rest(ctx, 300*time.Millisecond); err != nil { // some files are written by then
			return "", err
		}
		return "SIGKILL", s.replaceNode(ctx, d.attachedTo)
	})
	close(stop)
	if failed := <-ended; err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	return s.step(ctx, "count what was written", func(context.Context) (string, error) {
		files, err := filepath.Glob(filepath.Join(d.target(), "file-*"))
		if err == nil && (len(files) != written || written == 0) {
			err = fmt.Errorf("%d files are there, and %d were written", len(files), written)
		}
		return fmt.Sprintf("%d files before, during and after, and no write failed", written), err
	})
}

func rest(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// replaceNode kills a node's plugin, lets it be away for a moment, and starts another.
func (s *scene) replaceNode(ctx context.Context, n *node) error {
	i := slices.IndexFunc(s.children, func(c child) bool { return c.process() == n.driver.Process })
	n.driver.Kill()
	_ = n.driver.Conn.Close() // nobody is there any more
	interrupted := rest(ctx, 300*time.Millisecond)
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	d, err := n.start(starting) // cleaning up needs it too
	if err != nil {
		s.children = slices.Delete(s.children, i, i+1)
		return err
	}
	s.children[i], n.driver, n.csi = driverChild{d}, d, csi.NewNodeClient(patient{d.Conn})
	return errors.Join(interrupted, rest(ctx, 300*time.Millisecond)) // the program writes some more
}

// mounterChild takes the tmpfs away that a mounter leaves for the next one.
type mounterChild struct {
	*sandbox.Process

	notes string
}

func (c mounterChild) process() *sandbox.Process { return c.Process }

func (c mounterChild) stop(ctx context.Context) error {
	err := c.Stop(ctx)
	if unmountErr := unix.Unmount(c.notes, 0); !errors.Is(unmountErr, unix.EINVAL) && !errors.Is(unmountErr, unix.ENOENT) {
		err = errors.Join(err, unmountErr)
	}
	return err
}

// startMounter starts what mounts buckets on a node, with the node's own credentials, and returns the flag that leads there.
func (s *scene) startMounter(ctx context.Context) (flag string, err error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("m%d", len(s.nodes)+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	p, socket, err := sandbox.StartMounter(ctx, s.options.Bin, dir, append(s.baseEnv(), s.emulator.CloudEnv()...))
	if err != nil {
		return "", err
	}
	s.children = append(s.children, mounterChild{p, filepath.Join(dir, "objects")})
	return "--mounter-socket=" + socket, nil
}
