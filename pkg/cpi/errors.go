package cpi

import (
	"errors"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// ErrorType is a name that the Director knows; it fails the task for any other
// (bosh, external_cpi.rb: KNOWN_RPC_ERRORS).
type ErrorType string

// The Director's error types that a disk CPI raises. CPIError is for what is wrong with the request, the configuration or
// diskbridge itself; what the engine refuses is a CloudError unless a narrower type fits.
const (
	NotImplemented ErrorType = "Bosh::Clouds::NotImplemented" // skipped, or replaced by a copy
	NotSupported   ErrorType = "Bosh::Clouds::NotSupported"   // resize and update fall back to a copy
	CPIError       ErrorType = "Bosh::Clouds::CpiError"       // a bug, bad config or a malformed request
	CloudError     ErrorType = "Bosh::Clouds::CloudError"     // the cloud refused
	VMNotFound     ErrorType = "Bosh::Clouds::VMNotFound"     // treated as gone
	DiskNotFound   ErrorType = "Bosh::Clouds::DiskNotFound"   // the Director drops its record of the disk
	// DiskNotAttached is taken for "detached" unless the disk is in use.
	DiskNotAttached ErrorType = "Bosh::Clouds::DiskNotAttached"
	NoDiskSpace     ErrorType = "Bosh::Clouds::NoDiskSpace" // quota or capacity
)

// Error is a failure in the Director's words.
type Error struct {
	Type      ErrorType
	Message   string
	OKToRetry bool // the same call may be sent again and can then succeed
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Type, e.Message) }

// errorf makes an error of the given type that is not worth a retry.
func errorf(t ErrorType, format string, args ...any) *Error {
	return &Error{Type: t, Message: fmt.Sprintf(format, args...)}
}

// Outcome is what the Director is told about a kind of failure.
type Outcome struct {
	Type      ErrorType
	OKToRetry bool
}

// OutcomeOf is the one table from fault.Kind to BOSH. Repeating is only called
// good where nothing was done yet or the work is known to go on: create_disk
// and snapshot_disk are not idempotent, so an unknown outcome is not repeated.
func OutcomeOf(kind fault.Kind) Outcome {
	switch kind {
	case fault.NotFound:
		return Outcome{Type: DiskNotFound}
	case fault.Internal, fault.Invalid, fault.Conflict, fault.InUse, fault.FailedPrecondition, fault.OutOfRange, fault.Denied, fault.UnknownOutcome:
		return Outcome{Type: CloudError}
	case fault.Limit:
		return Outcome{Type: NoDiskSpace, OKToRetry: true}
	case fault.Pending, fault.Unavailable:
		return Outcome{Type: CloudError, OKToRetry: true}
	case fault.Unsupported:
		return Outcome{Type: NotSupported}
	default: // a kind of the future
		return Outcome{Type: CPIError}
	}
}

// errorOf turns any failure into the Director's words, however deeply it is wrapped.
func errorOf(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var known *fault.Error
	kind := fault.KindOf(err)
	o := OutcomeOf(kind)
	switch {
	case !errors.As(err, &known) && kind == fault.Internal: // the engine's errors have a kind
		o = Outcome{Type: CPIError}
	case errors.Is(err, volume.ErrNotAttached):
		o = Outcome{Type: DiskNotAttached, OKToRetry: true}
	case kind == fault.NotFound && (errors.Is(err, volume.ErrNoNode) || missingVM(err)):
		o.Type = VMNotFound
	}
	return &Error{Type: o.Type, Message: err.Error(), OKToRetry: o.OKToRetry}
}

// missingVM reports whether what was not found is an instance. The innermost
// subject counts: "attach vol-1: describe i-1: not found" must never become
// DiskNotFound, for that makes the Director forget the disk.
func missingVM(err error) bool {
	subject := ""
	for e := (*fault.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Subject != "" {
			subject = e.Subject
		}
	}
	return len(subject) > 2 && subject[:2] == "i-"
}
