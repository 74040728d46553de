package lane

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// Report has a machine's scenarios run within a time, and writes what comes of them to its port: a line for each, and
// "END" at last.
func Report(port string, limit time.Duration, run func(ctx context.Context, out io.Writer) error) error {
	out, err := os.OpenFile(port, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := run(ctx, out); err != nil {
		fmt.Fprintf(out, "FAIL the machine: %v\n", err)
	}
	fmt.Fprintln(out, "END")
	return out.Close()
}

// Score runs one scenario and writes its line: "PASS name time" or "FAIL name: error". What it leaves, says cleanUp.
func Score(out io.Writer, name string, run, cleanUp func() error) {
	begin := time.Now()
	err := run()
	if left := cleanUp(); err == nil {
		err = left
	}
	if err != nil {
		fmt.Fprintf(out, "FAIL %s: %v\n", name, err)
		return
	}
	fmt.Fprintf(out, "PASS %s (%.1fs)\n", name, time.Since(begin).Seconds())
}

// patience is how long Eventually waits.
const patience = 40 * time.Second

// Eventually waits until check succeeds.
func Eventually(ctx context.Context, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-again.C:
		}
	}
}

// InOrder stops at the first step that fails.
func InOrder(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Named says what an error is about.
func Named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
