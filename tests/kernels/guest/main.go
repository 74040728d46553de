package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// limit bounds everything in here; the machine outside waits longer.
const limit = 8 * time.Minute

// main is process 1: whatever happens, it ends by turning the machine off.
func main() {
	if err := errors.Join(os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), inside.Boot()); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	} else if err := lane.Report(inside.Report, limit, tests); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	fmt.Fprintf(os.Stderr, "guest: power off: %v\n", inside.PowerOff())
}

// tests runs the test binary and reports what it prints. All of it goes to the console as well.
func tests(ctx context.Context, out io.Writer) error {
	cmd := exec.CommandContext(ctx, "/bin/mount.test", "-test.v", "-test.run="+os.Getenv("TESTS"), "-test.skip="+os.Getenv("NOT"))
	cmd.Stderr = os.Stderr
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed := report(io.TeeReader(said, os.Stderr), out)
	if err := cmd.Wait(); err != nil && !failed {
		return fmt.Errorf("the tests ended early: %w", err)
	}
	return nil
}

// report writes a line for each test. One that was skipped has proven nothing, and is reported as it is: the lane fails.
func report(said io.Reader, out io.Writer) (failed bool) {
	var messages []string
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); strings.Contains(line, "_test.go:") {
			messages = append(messages, line)
		}
		result, isResult := strings.CutPrefix(lines.Text(), "--- ")
		if !isResult {
			continue
		}
		verdict, name, _ := strings.Cut(result, ": ")
		if verdict != "PASS" {
			name += " " + strings.Join(messages, "; ")
		}
		messages, failed = nil, failed || verdict == "FAIL"
		fmt.Fprintf(out, "%s %s\n", verdict, name)
	}
	return failed
}
