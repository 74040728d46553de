package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// sanity runs the CSI community's conformance suite on EFS: the emulator has a server for each file system, which the
// addresses of its mount targets lead to.
func sanity(ctx context.Context, _ *world) error {
	cmd := exec.CommandContext(ctx, "sanity.test", "-test.run=TestSanity", "-test.failfast")
	cmd.Env = append(os.Environ(), "DISKBRIDGE_BIN=/bin", "DISKBRIDGE_SANITY=nfs", "TMPDIR=/tmp", "HOME=/")
	cmd.Dir = "/tmp"
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), "SUCCESS!") {
		err = errors.New("no case ran")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s\n", out)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		err = fmt.Errorf("%w: %s", err, strings.Join(lines[max(0, len(lines)-10):], "; "))
	}
	return err
}
