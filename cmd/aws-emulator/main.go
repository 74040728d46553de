// Command aws-emulator is an AWS of our own in its own process: EC2, EFS, S3, KMS, STS and instance metadata with real disks, servers and files behind them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/devices"
)

const examples = `
Credentials are test / test. The first line of standard output, when all is ready, is JSON with the endpoint and the instances.

Examples:
  # a quick AWS without devices
  aws-emulator --listen=127.0.0.1:4566 --state-dir=/tmp/aws

  # with loop devices (needs root) and AWS's usual delays, throttles and eventual consistency
  aws-emulator --listen=127.0.0.1:4566 --state-dir=/var/lib/aws --devices=loop --profile=realistic

  # a program that talks to it
  AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test aws ec2 describe-volumes

  # the second AttachVolume from now on does its work, but its reply is lost
  curl -d '[{"operation":"AttachVolume","nth":2,"effect":"drop-reply"}]' http://127.0.0.1:4566/_emulator/faults
  curl http://127.0.0.1:4566/_emulator/calls

  # the next ModifyVolume is accepted, and the modification then fails
  curl -d '[{"operation":"ModifyVolume","nth":1,"effect":"fail-later"}]' http://127.0.0.1:4566/_emulator/faults

  # a volume that no modification is allowed of; every other volume is spared
  curl -d '[{"operation":"ModifyVolume","value":"vol-0123456789abcdef0","effect":"refuse","code":"VolumeLimitExceeded"}]' http://127.0.0.1:4566/_emulator/faults

  # the next CreateVolume is carried out 30 s later, even if its caller has left by then
  curl -d '[{"operation":"CreateVolume","nth":1,"effect":"late","delay_ms":30000}]' http://127.0.0.1:4566/_emulator/faults
`

func main() {
	if done, err := inside.Main(context.Background(), os.Args); err != nil { // the process of one NFS server
		os.Exit(fail(os.Stderr, 1, err))
	} else if done {
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// settings are what the flags say.
type settings struct {
	emulator.Options
	devices, files string
}

// run is main with its exit status: 2 for settings that cannot be, 1 for what fails later.
func run(args []string, stdout, stderr io.Writer) int {
	set, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, 2, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer klog.Flush()
	if set.devices == "loop" {
		tree, err := devices.New(set.StateDir)
		if err != nil {
			return fail(stderr, 2, fmt.Errorf("--state-dir with --devices=loop: %w", err))
		}
		set.Storage = tree
	}
	if set.files == "nfs" {
		if set.Files, err = newFileServers(filepath.Join(set.StateDir, "files")); err != nil {
			return fail(stderr, 2, fmt.Errorf("--files=nfs: %w", err))
		}
	}
	server, err := emulator.Start(ctx, set.Options)
	if err != nil {
		return fail(stderr, 1, err)
	}
	err = announce(stdout, server)
	if err == nil {
		<-ctx.Done()
	}
	if err := errors.Join(err, server.Close()); err != nil {
		return fail(stderr, 1, err)
	}
	return 0
}

func fail(stderr io.Writer, status int, err error) int {
	_, _ = fmt.Fprintf(stderr, "aws-emulator: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return status
}

// announce tells whoever started us where everything is.
func announce(stdout io.Writer, server *emulator.Server) error {
	return json.NewEncoder(stdout).Encode(struct {
		Endpoint  string              `json:"endpoint"`
		Instances []emulator.Instance `json:"instances"`
	}{server.Endpoint(), server.Instances()})
}

// parse reads and checks the flags. Help goes to stdout, errors are the caller's to show.
func parse(args []string, stdout io.Writer) (settings, error) {
	var set settings
	var zones, hidden string
	flags := flag.NewFlagSet("aws-emulator", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&set.Listen, "listen", "127.0.0.1:0", "`address` to answer at; port 0 takes any free one")
	flags.StringVar(&set.StateDir, "state-dir", "", "`folder` in which everything survives a restart (required)")
	flags.StringVar(&set.Profile, "profile", emulator.Instant, "how it behaves: instant, realistic, reference or throttled")
	flags.IntVar(&set.Instances, "instances", emulator.DefaultInstances, "how many instances there are")
	flags.StringVar(&zones, "zones", "us-east-1a,us-east-1b", "zones of the instances in order, repeated as needed")
	flags.StringVar(&set.devices, "devices", "none", "what attached volumes become: loop (needs root) or none")
	flags.StringVar(&set.files, "files", "none", "what the mount targets of EFS lead to: nfs (the kernel's own server; needs root) or none")
	flags.StringVar(&set.S3Server, "s3-server", "", "`program` that keeps the objects of S3: versitygw, which make versitygw puts into bin/; empty: no S3")
	flags.Int64Var(&set.Seed, "seed", 1, "fixes ids, durations, lags and chances")
	flags.StringVar(&set.InstanceType, "instance-type", emulator.DefaultInstanceType, "type of the instances")
	flags.StringVar(&hidden, "hidden-devices", "/dev/xvdb", "device names that are taken though no call shows them")
	flags.IntVar(&set.AttachLimit, "attach-limit", 0, "volumes that an instance takes beside its root; 0 is the type's own limit")
	logging := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logging)
	flags.Var(logging.Lookup("v").Value, "v", "log `level`")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprint(stdout, "aws-emulator is an AWS of our own: EC2 volumes and snapshots, EFS, S3, KMS, STS and instance metadata.\n\nFlags:\n")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		_, _ = fmt.Fprint(stdout, examples)
		return set, err
	}
	if err != nil {
		return set, err
	}
	set.Zones, set.HiddenDevices = split(zones), split(hidden)
	switch {
	case flags.NArg() > 0:
		return set, fmt.Errorf("unexpected argument %q: settings are flags, see --help", flags.Arg(0))
	case set.StateDir == "":
		return set, errors.New("--state-dir is empty: name a folder for the emulator's state")
	case set.devices != "loop" && set.devices != "none":
		return set, fmt.Errorf("--devices: %q is neither loop nor none", set.devices)
	case set.files != "nfs" && set.files != "none":
		return set, fmt.Errorf("--files: %q is neither nfs nor none", set.files)
	case set.Instances < 1:
		return set, fmt.Errorf("--instances: %d is not at least 1", set.Instances)
	}
	return set, set.Check()
}

func split(list string) []string {
	out := []string{}
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
