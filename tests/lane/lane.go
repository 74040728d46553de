package lane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Main runs a test program within a time and returns its exit status. An interrupt ends what run started before it ends us.
// Use it as
//
//	func main() { os.Exit(lane.Main("name", limit, run)) }
func Main(name string, limit time.Duration, run func(ctx context.Context, out io.Writer) error) int {
	interrupted, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(interrupted, limit)
	err := run(ctx, os.Stdout)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Build makes static programs, as they ship, in dir.
func Build(ctx context.Context, dir string, programs ...string) error {
	return Go(ctx, append([]string{"build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", dir + "/"}, programs...)...)
}

// Go runs the go command for this machine, without C.
func Go(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return nil
}

// Passed tells how many scenarios have passed since begin. None is an error.
func Passed(out io.Writer, name string, scenarios int, begin time.Time) error {
	if scenarios == 0 {
		return errors.New("no scenario was run")
	}
	_, err := fmt.Fprintf(out, "%s: %d scenarios passed in %.0f s\n", name, scenarios, time.Since(begin).Seconds())
	return err
}
