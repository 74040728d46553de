package csi

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// grpcCodes says how CSI's callers learn of a kind. Kubernetes' provisioner takes
// only Canceled, DeadlineExceeded, Unavailable and Aborted as "may still be in
// progress" and reschedules on ResourceExhausted; the resizer gives up on
// InvalidArgument, OutOfRange and NotFound.
var grpcCodes = map[fault.Kind]codes.Code{
	fault.Internal:       codes.Internal,
	fault.Invalid:        codes.InvalidArgument,
	fault.NotFound:       codes.NotFound,
	fault.Conflict:       codes.AlreadyExists,
	fault.InUse:          codes.FailedPrecondition,
	fault.OutOfRange:     codes.OutOfRange,
	fault.Limit:          codes.ResourceExhausted,
	fault.Pending:        codes.Aborted,
	fault.Unavailable:    codes.Unavailable,
	fault.UnknownOutcome: codes.Aborted,
	fault.Denied:         codes.PermissionDenied,
	fault.Unsupported:    codes.Unimplemented,
}

// Status turns an error into a gRPC status. A status passes unchanged.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code, ok := grpcCodes[fault.KindOf(err)]
	if !ok {
		code = codes.Internal
	}
	return status.Error(code, err.Error())
}

// invalid is the answer for a request field that is missing or wrong.
func invalid(op, format string, args ...any) error {
	return fault.New(fault.Invalid, op, "", format, args...)
}
