package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// limit bounds everything in here; the machine outside waits longer.
const limit = 8 * time.Minute

func main() {
	for _, other := range []func(context.Context, []string) (bool, error){inside.Main, runProgram} {
		if done, err := other(context.Background(), os.Args); err != nil {
			fmt.Fprintf(os.Stderr, "guest: %s: %v\n", os.Args[1], err)
			os.Exit(1)
		} else if done {
			return
		}
	}
	// This is process 1: whatever happens, it ends by turning the machine off.
	if err := boot(); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	} else if err := lane.Report(inside.Report, limit, scenarios); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	fmt.Fprintf(os.Stderr, "guest: power off: %v\n", inside.PowerOff())
}

func boot() error {
	return errors.Join(os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), inside.Boot())
}

// scenarios runs those of this machine's part in one world, which must come down well in the end.
func scenarios(ctx context.Context, out io.Writer) (err error) {
	only, err := regexp.Compile(os.Getenv("SCENARIOS"))
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(map[string][]scenario{"node": onNode(), "faults": onFaults(), "aws": onAWS()}[os.Getenv("PART")], func(s scenario) bool { return !only.MatchString(s.name) })
	if len(list) == 0 {
		return nil
	}
	w, err := newWorld(ctx, os.Getenv("PART"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, s := range list {
		lane.Score(out, s.name, func() error { return s.run(ctx, w) }, w.cleanUp)
	}
	return nil
}
