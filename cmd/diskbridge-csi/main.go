// Command diskbridge-csi is the CSI driver: controller and node plugin in one binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend/all"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/version"
)

const usage = `diskbridge-csi serves EBS volumes, EFS file systems and S3 buckets to Kubernetes and other
container orchestrators over CSI.

Usage:
  diskbridge-csi MODE [flags]

Modes:
  controller  provisions, attaches, grows and snapshots volumes; needs AWS credentials
  node        stages and mounts volumes on this machine; needs root, no AWS credentials
  all         both in one process
  mounter     keeps TLS tunnels of EFS and mounts of S3 while the node plugin is replaced; needs root
  janitor     removes the directories of deleted EFS volumes; needs root and AWS credentials
  version     prints the version

Credentials, region and endpoints come from the AWS SDK's own sources (environment,
shared files, IRSA, Pod Identity, instance roles; AWS_ENDPOINT_URL for another endpoint).

`

const examples = `
Examples:
  diskbridge-csi controller --socket-dir=/csi --cluster-id=prod-1 --default-encrypted
  diskbridge-csi node --socket-dir=/var/lib/kubelet/plugins --path-root=/var/lib/kubelet
  AWS_ENDPOINT_URL=http://127.0.0.1:4566 diskbridge-csi all --socket-dir=/tmp/csi \
      --node-id=i-0123456789abcdef0 --zone=us-east-1a --region=us-east-1
`

// gcPercent lets the heap grow by a little more than what lives before it is swept: 90 MiB
// of memory hold a thousand calls that wait at one time. A limit in its place would have the
// collector run all the time where more than that wait. GOGC replaces it.
const gcPercent = 120

func main() {
	if len(os.Args) == 2 && os.Args[1] == mount.ChildMode { // the node plugin's own child; its parent ends it
		if err := mount.Child(context.Background(), os.Stdin, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err) // nowhere else to say it
			os.Exit(1)
		}
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv("KUBERNETES_SERVICE_HOST") != "", os.Stdout, os.Stderr)
	stop()
	klog.Flush()
	os.Exit(code)
}

// run returns the exit status: 2 for wrong settings, 1 for a failure at run time.
func run(ctx context.Context, args []string, inKubernetes bool, stdout, stderr io.Writer) int {
	work, err := plan(args, inKubernetes, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "diskbridge-csi: %v\n", err) // nowhere else to say it
		return 2
	}
	ctx = klog.NewContext(ctx, klog.Background())
	if err := work(ctx); err != nil {
		klog.FromContext(ctx).Error(err, "diskbridge-csi ends")
		return 1
	}
	return 0
}

// plan says what the arguments ask for; flag.ErrHelp means that it is done.
func plan(args []string, inKubernetes bool, stdout, stderr io.Writer) (func(context.Context) error, error) {
	switch {
	case len(args) > 0 && args[0] == "mounter":
		m, err := parseMounter(args[1:], stdout, stderr)
		return m.serve, err
	case len(args) > 0 && args[0] == "janitor":
		j, err := parseJanitor(args[1:], stdout, stderr)
		return func(ctx context.Context) error { return j.serve(ctx, inKubernetes) }, err
	}
	settings, err := parse(args, stdout, stderr)
	return func(ctx context.Context) error {
		return serve(ctx, settings, inKubernetes)
	}, err
}

// parse reads the arguments; flag.ErrHelp means that what was asked for is printed.
func parse(args []string, stdout, stderr io.Writer) (*config.Settings, error) {
	if len(args) == 0 {
		return nil, errors.New("a mode must be given: controller, node, all, mounter or janitor; see diskbridge-csi --help")
	}
	s := &config.Settings{Mode: config.Mode(args[0])}
	switch {
	case args[0] == "version" || args[0] == "--version":
		_, err := fmt.Fprintln(stdout, version.String())
		return nil, errors.Join(err, flag.ErrHelp)
	case isHelp(args[0]):
		s.Mode = config.ModeAll
		return nil, parseMode(flags(s), []string{"--help"}, usage, examples, stdout, stderr)
	case !s.Mode.Controller() && !s.Mode.Node():
		return nil, fmt.Errorf("mode %q is not controller, node, all, mounter or janitor; see diskbridge-csi --help", args[0])
	}
	if err := parseMode(flags(s), args[1:], usage, examples, stdout, stderr); err != nil {
		return nil, err
	}
	return s, s.Validate(all.Kinds())
}

func flags(s *config.Settings) *flag.FlagSet {
	fs := flag.NewFlagSet(string(s.Mode), flag.ContinueOnError)
	s.Flags(fs, all.Kinds())
	return fs
}

// parseMode reads the arguments of a mode, which has the flag set's name, and sets up logging. flag.ErrHelp means that
// help was asked for and is printed.
func parseMode(fs *flag.FlagSet, args []string, usage, examples string, stdout, stderr io.Writer) error {
	verbosity := fs.Uint("v", 2, "log `LEVEL`: 0 problems, 2 every change, 5 every request")
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		var text strings.Builder
		text.WriteString(usage + "Flags:\n")
		fs.SetOutput(&text)
		fs.PrintDefaults()
		text.WriteString(examples)
		_, writeErr := io.WriteString(stdout, text.String())
		return errors.Join(writeErr, err)
	case err != nil:
		return fmt.Errorf("%w; see diskbridge-csi %s --help", err, fs.Name())
	case fs.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; every setting is a --flag=value", fs.Arg(0))
	}
	setLogging(strconv.FormatUint(uint64(*verbosity), 10), stderr)
	return nil
}

func isHelp(arg string) bool {
	switch strings.TrimLeft(arg, "-") {
	case "help", "h":
		return true
	}
	return false
}

// setLogging sends klog's text format to w.
func setLogging(level string, w io.Writer) {
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	_ = fs.Set("logtostderr", "false")
	_ = fs.Set("alsologtostderr", "false")
	// An error is one line: not one for each level below it too, nor one more for stderr.
	_ = fs.Set("one_output", "true")
	_ = fs.Set("stderrthreshold", "FATAL")
	_ = fs.Set("v", level)
	klog.SetOutput(w)
}
