package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what the caller may conclude from a failure. The list is closed:
// each front door has one table from Kind to its own codes.
type Kind int

const (
	// Internal is a bug or a state nobody foresaw.
	Internal Kind = iota
	// Invalid means that the request itself is wrong and will stay wrong.
	Invalid
	// NotFound means that the subject is proven not to exist.
	NotFound
	// Conflict means that the name or the subject is taken by something incompatible.
	Conflict
	// InUse means that the subject is held by someone else, or in a state that forbids the operation.
	InUse
	// FailedPrecondition means that the subject's state forbids the operation for now, and nothing was done. The message
	// says until when, or what has to change.
	FailedPrecondition
	// OutOfRange means that a number (size, iops) is outside what is possible.
	OutOfRange
	// Limit means that the cloud surely refused for lack of quota or capacity: nothing was made.
	Limit
	// Pending means that the operation is known to be still running: ask again.
	Pending
	// Unavailable means that nothing was done for now (throttled, connection refused): try again.
	Unavailable
	// UnknownOutcome means that the operation may or may not have taken effect: repeat the same request.
	UnknownOutcome
	// Denied means that the caller's credentials do not allow the operation.
	Denied
	// Unsupported means that this operation is not offered for this subject.
	Unsupported
)

var names = [...]string{
	Internal: "internal", Invalid: "invalid", NotFound: "not found", Conflict: "conflict",
	InUse: "in use", FailedPrecondition: "failed precondition", OutOfRange: "out of range", Limit: "limit", Pending: "pending",
	Unavailable: "unavailable", UnknownOutcome: "unknown outcome", Denied: "denied",
	Unsupported: "unsupported",
}

// Kinds returns every kind, for tests that walk the tables of the front doors.
func Kinds() []Kind {
	kinds := make([]Kind, len(names))
	for i := range names {
		kinds[i] = Kind(i)
	}
	return kinds
}

// String returns the kind in words, as it appears in logs and metrics.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return names[k]
}

// Error is a failure with its outcome. Message tells the user what happened and
// what to do next; it never contains a secret.
type Error struct {
	Op      string // operation in the field's own words: "attach", "create volume"
	Subject string // what it was done to: a handle, a name, a path; may be empty
	Kind    Kind
	Message string
	Code    string // the cloud's own code, such as "VolumeInUse"; may be empty
	Err     error  // cause; may be nil
}

// Error implements error as "op subject: message (code): cause".
func (e *Error) Error() string {
	s := e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of the given kind. The message is formatted as by fmt.Sprintf.
func New(kind Kind, op, subject, format string, args ...any) *Error {
	return &Error{Op: op, Subject: subject, Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap adds operation and subject to err, unless it names just them already, and keeps
// the kind that err carries. It returns nil for a nil err.
func Wrap(op, subject string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) && e.Op == op && e.Subject == subject {
		return err
	}
	return &Error{Op: op, Subject: subject, Kind: KindOf(err), Err: err}
}

// KindOf returns the kind of the outermost Error in err's chain. A context that
// ended is an UnknownOutcome, since the call it cut short may have arrived;
// anything else that carries no kind is Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return UnknownOutcome
	default:
		return Internal
	}
}

// CodeOf returns the cloud's own code that err carries, or "".
func CodeOf(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Code != "" {
			return e.Code
		}
		err = e.Err
	}
	return ""
}

// Is reports whether err is of the given kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Explain adds to the message of the outermost Error in err's chain what the user can do;
// an err without one is returned as it is.
func Explain(err error, advice string) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	explained := *e
	if explained.Message != "" {
		explained.Message += "; "
	}
	explained.Message += advice
	return &explained
}
