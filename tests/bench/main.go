// Command bench measures an EBS CSI driver from outside: it drives the controller's socket, counts what the AWS emulator
// was asked, and reads the driver's memory from /proc. It must not know what is inside the driver.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

const usage = `bench measures how long an EBS CSI driver takes, beyond what AWS itself takes.

Without -endpoint it starts our own driver and the emulator afresh for every measurement. With it, the driver behind the
socket is measured; it must use the emulator that -emulator names, and -pid is its process.

Flags:
`

// settings are what the flags say.
type settings struct {
	bin       string
	endpoint  string // of another driver; empty: ours
	pid       int
	emulator  string
	out       string
	docs      string
	sizes     []int
	repeats   int
	throttled bool
	deadline  time.Duration // of one RPC
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	set, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	report, err := measure(ctx, set, stderr)
	if err == nil {
		err = publish(set, report, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var set settings
	var sizes string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&set.bin, "bin", "bin", "`folder` of our binaries")
	flags.StringVar(&set.endpoint, "endpoint", "", "`socket` of another driver's controller, such as unix:///run/csi.sock")
	pid := flags.String("pid", "", "`process` id of that driver, for its memory")
	flags.StringVar(&set.emulator, "emulator", "", "`URL` of the emulator that the driver uses")
	flags.StringVar(&set.out, "out", "", "`file` for the results as JSON")
	flags.StringVar(&set.docs, "docs", "", "`folder` for table and plots; empty: none are written")
	flags.StringVar(&sizes, "n", "", "how many volumes at one time, in turn (1,100,1000; throttled: 500)")
	flags.IntVar(&set.repeats, "repeats", 0, "measurements, of which the median counts (3; throttled: 1)")
	flags.BoolVar(&set.throttled, "throttled", false, "measure under AWS's default throttles: create, publish, unpublish, delete")
	flags.DurationVar(&set.deadline, "deadline", 0, "time that one call may take (1m; throttled: what AWS's rate needs, and 2m)")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if err := set.complete(sizes, *pid); err != nil {
		return set, err
	}
	if flags.NArg() > 0 {
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return set, nil
}

// complete checks the settings and fills in what they leave out.
func (s *settings) complete(sizes, pid string) error {
	if sizes == "" {
		sizes = "1,100,1000"
		if s.throttled {
			sizes = "500"
		}
	}
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > 10000 {
			return fmt.Errorf("-n: %q is no number between 1 and 10000", text)
		}
		s.sizes = append(s.sizes, n)
	}
	if s.repeats == 0 {
		s.repeats = 3
		if s.throttled {
			s.repeats = 1
		}
	}
	if s.endpoint == "" {
		if s.emulator != "" || pid != "" {
			return errors.New("-emulator and -pid belong to another driver: give its -endpoint too")
		}
		return nil
	}
	if !strings.HasPrefix(s.endpoint, "unix:") || s.emulator == "" {
		return errors.New("-endpoint must be a unix: socket, and -emulator the URL of the emulator that the driver behind it uses")
	}
	if pid != "" {
		n, err := strconv.Atoi(pid)
		if err != nil || n < 1 {
			return fmt.Errorf("-pid: %q is no process id", pid)
		}
		s.pid = n
	}
	return nil
}

// setting is the emulator's profile that is measured on.
func (s *settings) setting() string {
	if s.throttled {
		return emulator.Throttled
	}
	return emulator.Reference
}

// limit is how long one call may take.
func (s *settings) limit(n int) time.Duration {
	switch {
	case s.deadline > 0:
		return s.deadline
	case s.throttled:
		return time.Duration(n/awsRate)*time.Second + 2*time.Minute
	}
	return time.Minute
}

// awsRate is how many volumes a second AWS lets an account create, attach, detach or delete by default.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
const awsRate = 5
