// Command diskbridge-cpi is a BOSH CPI: one JSON request on stdin, one JSON response on stdout.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/cpi"
	"github.com/diskbridge/diskbridge/pkg/version"
)

const usage = `diskbridge-cpi answers one BOSH CPI request: JSON on stdin, JSON on stdout.

Usage:
  diskbridge-cpi [-config FILE | FILE]

Flags:
  -config FILE  settings as BOSH renders them; info needs none
  -version      print the version
  -help         print this text

The log of a call goes to stderr and into the answer. BOSH_CA_CERT_FILE names further
CA certificates, and the usual proxy variables count; no other environment does.

It exits with 0 whenever it wrote an answer, also when the answer is an error;
with 1 if it could not write one; with 2 if the command line is wrong; with the
delegate's status if that is not 0.

Examples:
  echo '{"method":"info","arguments":[],"context":{}}' | diskbridge-cpi
  diskbridge-cpi -config /var/vcap/jobs/diskbridge_cpi/config/cpi.json <request.json
`

// delegatedVariable marks a delegate's environment: who finds it there does not delegate again.
const delegatedVariable = "DISKBRIDGE_CPI_DELEGATE"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("diskbridge-cpi", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config := flags.String("config", "", "")
	showVersion := flags.Bool("version", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "diskbridge-cpi: %v; see diskbridge-cpi -help\n", err)
		return 2
	case flags.NArg() > 1, flags.NArg() == 1 && *config != "":
		fmt.Fprintln(stderr, "diskbridge-cpi: one configuration file at most; see diskbridge-cpi -help")
		return 2
	case *showVersion:
		fmt.Fprintln(stdout, version.String())
		return 0
	case flags.NArg() == 1:
		*config = flags.Arg(0)
	}
	server := &cpi.Server{
		Config: *config, Parameters: ebs.DiskParameters(), Stderr: stderr,
		Environment: append(os.Environ(), delegatedVariable+"=1"), Delegated: os.Getenv(delegatedVariable) != "",
		Open: func(ctx context.Context, s cpi.Settings) (*broker.Broker, func(), error) {
			return open(ctx, s, os.Getenv(caVariable))
		},
	}
	// Until the request is here, a signal ends the process; from then on there is an answer.
	request, err := io.ReadAll(io.LimitReader(stdin, cpi.MaxRequest+1))
	if err != nil {
		fmt.Fprintf(stderr, "diskbridge-cpi: reading the request: %v\n", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = server.Serve(ctx, bytes.NewReader(request), stdout)
	var delegate *cpi.ExitError
	switch {
	case errors.As(err, &delegate):
		return delegate.Code
	case err != nil:
		fmt.Fprintf(stderr, "diskbridge-cpi: %v\n", err)
		return 1
	}
	return 0
}
