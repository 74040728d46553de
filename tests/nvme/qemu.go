package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// machine is a PC without anything but memory and two serial ports: console and report. It needs no KVM, no root and no
// network. nvme_core.multipath=N gives the plain names that instances on EC2 have.
var machine = []string{
	"qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536", "-nodefaults", "-display", "none", "-no-reboot",
	"-append", "console=ttyS0 quiet panic=-1 mitigations=off nvme_core.multipath=N",
}

// boot runs the machine until it turns itself off, and shows its report. It fails with the console's end if any scenario
// failed, or none was run.
func boot(ctx context.Context, out io.Writer, kernel, initrd, console string) error {
	args := slices.Concat(machine[1:], []string{"-kernel", kernel, "-initrd", initrd, "-serial", "file:" + console, "-serial", "stdio"})
	cmd := exec.CommandContext(ctx, machine[0], args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	cmd.Stderr = os.Stderr
	reportPort, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the virtual machine: %w", err)
	}
	passed, err := follow(out, reportPort)
	err = errors.Join(err, cmd.Wait())
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		text, readErr := os.ReadFile(console)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return errors.Join(fmt.Errorf("the end of the machine's console:\n%s", strings.Join(lines[max(0, len(lines)-120):], "\n")), readErr, err)
	}
	fmt.Fprintf(out, "nvme: %d scenarios passed in %.0f s\n", passed, time.Since(begin).Seconds())
	return nil
}

// follow shows the report as it comes, and counts. A report without an end, or without a scenario, is an error.
func follow(out io.Writer, report io.Reader) (passed int, err error) {
	failed, ended := 0, false
	lines := bufio.NewScanner(report)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "PASS "):
			passed++
		case line == "END":
			ended = true
			continue
		case line != "":
			failed++
		}
		fmt.Fprintf(out, "  %s\n", line)
	}
	switch {
	case lines.Err() != nil:
		return passed, lines.Err()
	case failed > 0:
		return passed, fmt.Errorf("%d scenarios failed", failed)
	case !ended || passed == 0:
		return passed, fmt.Errorf("the machine's report ends after %d scenarios", passed)
	}
	return passed, nil
}
