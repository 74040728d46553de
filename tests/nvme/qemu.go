package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// pc is a PC without anything but memory and two serial ports: console and report. It needs no KVM, no root and no
// network. nvme_core.multipath=N gives the plain names that instances on EC2 have.
var pc = []string{
	"qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536", "-nodefaults", "-display", "none", "-no-reboot",
	"-append", "console=ttyS0 quiet panic=-1 mitigations=off nvme_core.multipath=N",
}

// boot runs the machine until it turns itself off, and shows its report. It fails with the console's end if any scenario
// failed, or none was run.
func boot(ctx context.Context, out io.Writer, kernel, initrd, console string) error {
	args := slices.Concat(pc[1:], []string{"-kernel", kernel, "-initrd", initrd, "-serial", "file:" + console, "-serial", "stdio"})
	cmd := exec.CommandContext(ctx, pc[0], args...)
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
	passed, err := machine.Follow(out, reportPort)
	err = errors.Join(err, cmd.Wait())
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return errors.Join(machine.ConsoleEnd(console), err)
	}
	return lane.Passed(out, "nvme", passed, begin)
}
