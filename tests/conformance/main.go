// Command conformance asks moto, an emulation of AWS that others wrote, and this project's emulator the same questions
// through AWS's own SDK. It must not know how the emulator works; it fails if an answer differs for no known reason.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// limit bounds the whole run, most of which is moto's installation.
const limit = 5 * time.Minute

func main() {
	verbose := flag.Bool("v", false, "show the explained differences too")
	objects := flag.String("s3-server", "", "path of versitygw, which keeps the emulator's objects")
	flag.Parse()
	os.Exit(lane.Main("conformance", limit, func(ctx context.Context, out io.Writer) error { return run(ctx, out, *verbose, *objects) }))
}

func run(ctx context.Context, out io.Writer, verbose bool, objects string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("moto runs in a chroot: run this as root")
	}
	root, err := motoRoot(ctx, out)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	moto, err := startMoto(ctx, root, dir)
	if err != nil {
		return err
	}
	defer moto.stop()
	ours, err := startEmulator(ctx, objects)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Close()) }() //nolint:contextcheck // it bounds itself
	table := rows()
	theirs, err := ask(ctx, moto.endpoint, table)
	if err != nil {
		return fmt.Errorf("moto: %w", err)
	}
	mine, err := ask(ctx, ours.Endpoint(), table)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	var all []difference
	for i, r := range table {
		all = append(all, compare(r.name, theirs[i], mine[i])...)
	}
	if verbose {
		for _, d := range all {
			fmt.Fprintf(out, "  %s\n", d)
		}
	}
	return judge(len(table), all, known()).write(out)
}

// startEmulator starts ours as moto is: instant, and with moto's account.
func startEmulator(ctx context.Context, objects string) (*emulator.Server, error) {
	return emulator.Start(klog.NewContext(ctx, klog.Logger{}), emulator.Options{Profile: emulator.Instant, AccountID: account, S3Server: objects})
}
