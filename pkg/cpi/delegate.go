package cpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// delegated are the methods that are not about disks (https://bosh.io/docs/cpi-api-v2/). The list is closed, so that a
// disk method of the future never reaches a CPI that does not honour holders.
func delegated() []string {
	return []string{
		"create_stemcell", "delete_stemcell", "create_vm", "delete_vm", "has_vm", "reboot_vm", "set_vm_metadata",
		"calculate_vm_cloud_properties", "create_network", "delete_network", "configure_networks", "current_vm_id", "ping",
	}
}

// errForwarded says that a delegate has answered.
var errForwarded = errors.New("the delegate answered")

// forwarded is errForwarded with what became of the delegate's process.
type forwarded struct{ err error }

func (f forwarded) Error() string        { return errForwarded.Error() }
func (f forwarded) Is(target error) bool { return target == errForwarded }
func (f forwarded) Unwrap() error        { return f.err }

// ExitError is how a delegate's process ended that has answered.
type ExitError struct{ Code int }

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("the delegate ended with status %d", e.Code) }

// dying is how long a delegate may take to end when it is asked to, and its output to end after it.
const dying = 10 * time.Second

// forward gives the request, byte for byte, to the delegate, and its answer to the caller.
func (s *Server) forward(ctx context.Context, r request, settings Settings, out io.Writer) error {
	path := settings.Own.Delegate.ExecPath
	if path == "" {
		return errorf(NotImplemented, "%s is not about disks, and no other CPI serves it: set diskbridge.delegate.exec_path", *r.Method)
	}
	if s.Delegated {
		return errorf(CPIError, "%s came from diskbridge itself: diskbridge.delegate.exec_path (%s) leads back to it; name the other CPI's executable", *r.Method, path)
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = s.Environment
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = dying
	var answer bytes.Buffer
	log := struct{ io.Writer }{s.Stderr} // by a pipe: what a delegate leaves running must not hold our own
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(r.text), &answer, log
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.Is(err, exec.ErrWaitDelay) && answer.Len() > 0 {
		err = nil // it has ended, and only what it left running holds its output
	}
	if answer.Len() == 0 || err != nil && !errors.As(err, &exit) {
		klog.FromContext(ctx).Info("The delegate gave no answer", "path", path)
		return errorf(CPIError, "the delegate %s gave no answer to %s: %v; its own log is in the debug log", path, *r.Method, err)
	}
	if _, err := out.Write(answer.Bytes()); err != nil {
		return forwarded{fmt.Errorf("writing the delegate's answer: %w", err)}
	}
	if exit != nil {
		return forwarded{&ExitError{max(1, exit.ExitCode())}}
	}
	return forwarded{}
}
