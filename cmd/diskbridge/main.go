// Command diskbridge is the operator's tool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/demo"
	"github.com/diskbridge/diskbridge/cmd/diskbridge/disks"
	"github.com/diskbridge/diskbridge/pkg/version"
)

const usage = `diskbridge is the operator's tool of the diskbridge disk engine.

Usage:
  diskbridge COMMAND [flags]

Commands:
  demo     show volumes of EBS, EFS and S3 through their life on this machine
  volumes  list the disks that Kubernetes or BOSH holds
  orphans  list disks and snapshots that were left behind
  adopt    give a disk to a BOSH Director or a Kubernetes volume
  release  take a disk from its holder
  convert  record that a disk has BOSH's layout
  version  print the version

Examples:
  sudo diskbridge demo
  diskbridge orphans
  diskbridge release vol-0123456789abcdef0
  diskbridge demo --help
`

const demoUsage = `diskbridge demo shows volumes of every kind on this machine: it starts an AWS emulator and the driver, and talks
CSI to it as Kubernetes does. It needs no AWS account. Two nodes share an EFS file system over NFS (on this machine's kernel
where it has an NFS client and server, else in User Mode Linux, Debian's package user-mode-linux, which needs no root), and an
S3 bucket with s3fs. Then EBS volumes are taken through their whole life, and at last to BOSH and back. As root it formats and
mounts real file systems on loop devices; without root it plays the controller half of EBS and says what it leaves out.
Ctrl-C cleans up.

Usage:
  diskbridge demo [--profile=PROFILE] [--only=PART]

Flags:
  --profile=PROFILE  how fast the emulated AWS is: instant (default), reference (about 1 s
                     for each step) or realistic (1 to 10 s, eventually consistent, throttled)
  --only=PART        ebs (and BOSH), efs or s3; default: all

It exits with 0 only if every step succeeded and nothing is left behind.

Examples:
  sudo diskbridge demo
  diskbridge demo --profile=realistic
  diskbridge demo --only=efs
`

// interrupted is the exit status of a process that Ctrl-C ended, by the shell's convention.
const interrupted = 130

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if done, err := demo.Inside(ctx); done {
		stop()
		if err != nil {
			fmt.Fprintf(os.Stderr, "diskbridge demo: %v\n", err)
			os.Exit(1)
		}
		return
	}
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch command := args[0]; command {
	case "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, usage)
		return 0
	case "version", "--version":
		fmt.Fprintln(stdout, version.String())
		return 0
	case "demo":
		return runDemo(ctx, args[1:], stdout, stderr)
	default:
		for _, c := range disks.Commands() {
			if c.Name == command {
				return c.Run(ctx, args[1:], stdout, stderr)
			}
		}
		fmt.Fprintf(stderr, "diskbridge: unknown command %q; see diskbridge --help\n", command)
		return 2
	}
}

func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("diskbridge demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	profile, only := flags.String("profile", "instant", ""), flags.String("only", "", "")
	profiles, parts := []string{"instant", "reference", "realistic"}, []string{"", "ebs", "efs", "s3"}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, demoUsage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "diskbridge demo: %v; see diskbridge demo --help\n", err)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "diskbridge demo: unexpected argument %q; see diskbridge demo --help\n", flags.Arg(0))
		return 2
	case !slices.Contains(profiles, *profile):
		fmt.Fprintf(stderr, "diskbridge demo: --profile=%s: use one of %s\n", *profile, strings.Join(profiles, ", "))
		return 2
	}
	if !slices.Contains(parts, *only) {
		fmt.Fprintf(stderr, "diskbridge demo: --only=%s: use ebs, efs or s3\n", *only)
		return 2
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintf(stderr, "diskbridge demo: cannot find the other binaries: %v\n", err)
		return 1
	}
	err = demo.Run(ctx, demo.Options{
		Bin: filepath.Dir(self), Profile: *profile, Only: *only, Root: os.Geteuid() == 0, Out: stdout, Color: terminal(stdout),
	})
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return interrupted
	default:
		return 1
	}
}

// terminal reports whether a person is watching and wants colour (https://no-color.org).
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
