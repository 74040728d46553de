package csi

import (
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// grpcCodes is the code of each kind, in every operation that operationCodes does not name. Kubernetes' sidecars take
// Canceled, DeadlineExceeded, Unavailable and Aborted for "may still be in progress", so only Pending, Unavailable and
// UnknownOutcome may become one of them.
var grpcCodes = map[fault.Kind]codes.Code{
	fault.Internal:           codes.Internal,
	fault.Invalid:            codes.InvalidArgument,
	fault.NotFound:           codes.NotFound,
	fault.Conflict:           codes.AlreadyExists,
	fault.InUse:              codes.FailedPrecondition,
	fault.FailedPrecondition: codes.FailedPrecondition,
	fault.OutOfRange:         codes.OutOfRange,
	fault.Limit:              codes.ResourceExhausted,
	fault.Pending:            codes.Aborted,
	fault.Unavailable:        codes.Unavailable,
	fault.UnknownOutcome:     codes.Aborted,
	fault.Denied:             codes.PermissionDenied,
	fault.Unsupported:        codes.Unimplemented,
}

// operationCodes are the codes that an operation's caller reads differently. ResourceExhausted is right for CreateVolume
// (the provisioner lets the scheduler choose again) and ControllerPublishVolume (the node has no slot left), but the
// resizer and the snapshotter take it for "may still be in progress": a claim could not be lowered and a snapshot not be
// deleted until the quota is free. The resizer treats a growth as infeasible on OutOfRange, a modification only on
// InvalidArgument; a snapshot can be deleted after any final code.
var operationCodes = map[string]map[fault.Kind]codes.Code{
	"ControllerExpandVolume": {fault.Limit: codes.OutOfRange},
	"ControllerModifyVolume": {fault.Limit: codes.InvalidArgument, fault.OutOfRange: codes.InvalidArgument},
	"CreateSnapshot":         {fault.Limit: codes.FailedPrecondition},
}

// Operations lists the operations that have codes of their own, in the order of their names.
func Operations() []string { return slices.Sorted(maps.Keys(operationCodes)) }

// CodeOf is the code with which an operation, such as "CreateVolume", answers a kind of failure.
func CodeOf(operation string, kind fault.Kind) codes.Code {
	if code, ok := operationCodes[operation][kind]; ok {
		return code
	}
	if code, ok := grpcCodes[kind]; ok {
		return code
	}
	return codes.Internal
}

// Status turns an error of an operation into a gRPC status. A status passes unchanged.
func Status(operation string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(CodeOf(operation, fault.KindOf(err)), err.Error())
}

// invalid is the answer for a request field that is missing or wrong.
func invalid(op, format string, args ...any) error {
	return fault.New(fault.Invalid, op, "", format, args...)
}
