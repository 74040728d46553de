package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine"
)

// machineMiB is the memory of the machine, in MiB; only what is used of it is taken.
const machineMiB = 768

// elsewhere plays EFS's part: it needs a kernel with an NFS client and server, this one or one of its own.
func (s *scene) elsewhere(ctx context.Context) error {
	s.section("A file system that two nodes share: EFS")
	if missing := nfsMissing(s.options.Root); missing == "" {
		s.note("on this machine's kernel, in namespaces of its own")
		return s.inNamespaces(ctx)
	} else {
		s.note("not on this machine's kernel: %s", missing)
	}
	uml, err := machine.FindUML()
	if err = errors.Join(err, machine.FindNFS()); err != nil {
		s.note("left out: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		s.note("with these it plays in User Mode Linux, a kernel that is an ordinary process")
		return nil
	}
	image := filepath.Join(s.dir, "efs", "initramfs")
	err = s.step(ctx, "make a User Mode Linux, a kernel of its own", func(ctx context.Context) (string, error) {
		return "", s.pack(ctx, uml, image)
	})
	if err != nil {
		return err
	}
	console, told := filepath.Join(filepath.Dir(image), "console"), 0
	err = uml.Run(ctx, image, console, machineMiB, s.placed(inMachine), func(story io.Reader) (err error) {
		told, err = s.listen(story)
		return err
	})
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case told == 0:
		s.note("left out: User Mode Linux does not start here, %v", errors.Join(err, machine.ConsoleEnd(console)))
		return nil
	}
	return errors.Join(err, machine.ConsoleEnd(console))
}

// nfsMissing says why this machine cannot play EFS's part, if so.
func nfsMissing(root bool) string {
	known, err := os.ReadFile("/proc/filesystems")
	switch {
	case !root:
		return "mounting needs root"
	case err != nil:
		return err.Error()
	case !strings.Contains(string(known), "\tnfs4\n"):
		return "it has no NFS client"
	case !strings.Contains(string(known), "\tnfsd\n"):
		return "it has no NFS server"
	}
	if err := machine.FindNFS(); err != nil {
		return err.Error()
	}
	return ""
}

// placed is the environment of a process that plays the part.
func (s *scene) placed(place string) map[string]string {
	env := map[string]string{placeVariable: place, profileVariable: s.options.Profile}
	if s.color {
		env[colorVariable] = "yes"
	}
	return env
}

// inNamespaces plays it on this kernel: a process with a network, a name and mounts of its own.
func (s *scene) inNamespaces(ctx context.Context) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // all was read
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(s.baseEnv(), folderVariable+"="+filepath.Join(s.dir, "efs"))
	for name, value := range s.placed(inNamespaces) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = writer, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it cleans up
	cmd.WaitDelay = cleanupLimit + 10*time.Second
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start namespaces: %w", err), writer.Close())
	}
	err = writer.Close()
	_, listenErr := s.listen(reader)
	err = errors.Join(err, listenErr)
	if waitErr := cmd.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("%w: %s", waitErr, strings.TrimSpace(said.String())))
	}
	return err
}

// pack writes the files of the machine.
func (s *scene) pack(ctx context.Context, uml machine.UML, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := machine.NewArchive(buffered)
	for _, program := range []string{"diskbridge-csi", "aws-emulator"} {
		a.Copy(filepath.Join(s.options.Bin, program), "/bin/"+program)
	}
	a.Copy(filepath.Join(s.options.Bin, "diskbridge"), "/init")
	err = uml.PackNFS(ctx, a)
	return errors.Join(err, a.End(), buffered.Flush(), f.Close())
}

// listen passes on what the process tells, as it comes, and counts the bytes. Without its word at the end that all is
// well it is an error.
func (s *scene) listen(story io.Reader) (told int, err error) {
	well := false
	buffer := make([]byte, 4096)
	for {
		n, err := story.Read(buffer)
		told += n
		well = well || bytes.IndexByte(buffer[:n], allWell) >= 0
		text := bytes.Map(func(r rune) rune {
			if r == '\r' || r == allWell { // a terminal's line ends
				return -1
			}
			return r
		}, buffer[:n])
		if _, writeErr := s.w.Write(text); writeErr != nil {
			return told, writeErr
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return told, err
		case !well:
			return told, errors.New("the story of EFS breaks off")
		default:
			return told, nil
		}
	}
}
