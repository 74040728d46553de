package csi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

func TestStatus_EveryKindHasItsCode(t *testing.T) {
	want := map[fault.Kind]codes.Code{
		fault.Internal: codes.Internal, fault.Invalid: codes.InvalidArgument, fault.NotFound: codes.NotFound,
		fault.Conflict: codes.AlreadyExists, fault.InUse: codes.FailedPrecondition, fault.OutOfRange: codes.OutOfRange,
		fault.FailedPrecondition: codes.FailedPrecondition,
		fault.Limit:              codes.ResourceExhausted, fault.Pending: codes.Aborted, fault.Unavailable: codes.Unavailable,
		fault.UnknownOutcome: codes.Aborted, fault.Denied: codes.PermissionDenied, fault.Unsupported: codes.Unimplemented,
	}
	for _, k := range fault.Kinds() {
		code, ok := want[k]
		err := fmt.Errorf("outer: %w", fault.New(k, "op", "subject", "message"))
		if got := status.Code(Status("CreateVolume", err)); !ok || got != code {
			t.Errorf("kind %v: code %v, want %v (listed: %v)", k, got, code, ok)
		}
	}
	if Status("CreateVolume", nil) != nil {
		t.Error("nil is no status")
	}
	if got := status.Code(Status("CreateVolume", errors.New("plain"))); got != codes.Internal {
		t.Errorf("a plain error: %v", got)
	}
	if got := status.Code(Status("CreateVolume", context.DeadlineExceeded)); got != codes.Aborted {
		t.Errorf("an ended context has an unknown outcome: %v", got)
	}
}

// operations are all RPCs of the controller's and the node's services.
func operations(t *testing.T) (names []string) {
	t.Helper()
	for _, service := range []grpc.ServiceDesc{csipb.Controller_ServiceDesc, csipb.Node_ServiceDesc} {
		for _, m := range service.Methods {
			names = append(names, m.MethodName)
		}
	}
	if len(names) < 15 {
		t.Fatalf("operations: %v", names)
	}
	return names
}

// unresolved are the codes after which Kubernetes' sidecars believe that the operation may still be in progress.
var unresolved = []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Aborted, codes.Unknown}

// TestCodeOf_OnlyAnOpenOutcomeIsNotFinal: a code that a sidecar takes for "in progress" locks the claim or the snapshot,
// and a final one for what may still be running leaks it.
func TestCodeOf_OnlyAnOpenOutcomeIsNotFinal(t *testing.T) {
	open := []fault.Kind{fault.Pending, fault.Unavailable, fault.UnknownOutcome}
	for _, operation := range operations(t) {
		for _, kind := range fault.Kinds() {
			code := CodeOf(operation, kind)
			if slices.Contains(open, kind) != slices.Contains(unresolved, code) {
				t.Errorf("%s: %v becomes %v", operation, kind, code)
			}
		}
	}
}

// TestCodeOf_ARefusalIsFinalForTheResizerAndTheSnapshotter: both take ResourceExhausted for "in progress" (external-resizer
// 2.3.0, IsFinalError; external-snapshotter 8.7.0, isCSIFinalError). A growth that the caller can make possible only with
// another size is infeasible on OutOfRange and InvalidArgument, a modification only on InvalidArgument.
func TestCodeOf_ARefusalIsFinalForTheResizerAndTheSnapshotter(t *testing.T) {
	for _, operation := range []string{"ControllerExpandVolume", "ControllerModifyVolume", "CreateSnapshot"} {
		for _, kind := range fault.Kinds() {
			if code := CodeOf(operation, kind); code == codes.ResourceExhausted {
				t.Errorf("%s: %v becomes %v", operation, kind, code)
			}
		}
	}
	for _, row := range []struct {
		operation string
		kind      fault.Kind
		code      codes.Code
	}{
		{"ControllerExpandVolume", fault.Limit, codes.OutOfRange},
		{"ControllerExpandVolume", fault.OutOfRange, codes.OutOfRange},
		{"ControllerExpandVolume", fault.Invalid, codes.InvalidArgument},
		{"ControllerExpandVolume", fault.FailedPrecondition, codes.FailedPrecondition},
		{"ControllerModifyVolume", fault.Limit, codes.InvalidArgument},
		{"ControllerModifyVolume", fault.OutOfRange, codes.InvalidArgument},
		{"ControllerModifyVolume", fault.Invalid, codes.InvalidArgument},
		{"ControllerModifyVolume", fault.FailedPrecondition, codes.FailedPrecondition},
		{"CreateSnapshot", fault.Limit, codes.FailedPrecondition},
		{"CreateVolume", fault.Limit, codes.ResourceExhausted},            // the scheduler chooses again
		{"ControllerPublishVolume", fault.Limit, codes.ResourceExhausted}, // the node is full
	} {
		if got := CodeOf(row.operation, row.kind); got != row.code {
			t.Errorf("%s: %v becomes %v, want %v", row.operation, row.kind, got, row.code)
		}
	}
	for _, operation := range Operations() {
		if !slices.Contains(operations(t), operation) {
			t.Errorf("there is no operation %q", operation)
		}
	}
}

// TestBoundary_TheOperationDecidesTheCode: the table is asked with the operation's own name.
func TestBoundary_TheOperationDecidesTheCode(t *testing.T) {
	for method, want := range map[string]codes.Code{
		"/csi.v1.Controller/CreateVolume": codes.ResourceExhausted, "/csi.v1.Controller/ControllerExpandVolume": codes.OutOfRange,
		"/csi.v1.Controller/ControllerModifyVolume": codes.InvalidArgument, "/csi.v1.Controller/CreateSnapshot": codes.FailedPrecondition,
	} {
		r := &record{}
		_, err := boundary("d", r)(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			return nil, fault.New(fault.Limit, "op", "vol-1", "the quota is used up")
		})
		if got := status.Code(err); got != want || r.codes[0] != path.Base(method)+" "+want.String() {
			t.Errorf("%s: %v, recorded %v, want %v", method, got, r.codes, want)
		}
	}
}

// record counts what the boundary reports.
type record struct {
	mu    sync.Mutex
	codes []string
}

func (r *record) RPC(_, method, code string, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.codes = append(r.codes, method+" "+code)
}

// through sends a request through the boundary to handler and returns the log.
func through(ctx context.Context, t *testing.T, r *record, req any, handler grpc.UnaryHandler) (log string, err error) {
	t.Helper()
	var lines bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&lines), textlogger.Verbosity(9)))
	_, err = boundary("ebs.csi.diskbridge.io", r)(klog.NewContext(ctx, logger), req,
		&grpc.UnaryServerInfo{FullMethod: "/csi.v1.Controller/CreateVolume"}, handler)
	return lines.String(), err
}

func TestBoundary_APanicIsOneFailedCall(t *testing.T) {
	r := &record{}
	log, err := through(t.Context(), t, r, &csipb.CreateVolumeRequest{Name: "v"}, func(context.Context, any) (any, error) {
		var nothing *csipb.Volume
		return nothing.VolumeId, nil
	})
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "panic") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(log, "RPC panicked") || !strings.Contains(log, "boundary_test.go") {
		t.Errorf("the log does not show where:\n%s", log)
	}
	if len(r.codes) != 1 || r.codes[0] != "CreateVolume Internal" {
		t.Errorf("counted %v", r.codes)
	}
}

func TestBoundary_LogsAFailureOnceWithItsKind(t *testing.T) {
	log, err := through(t.Context(), t, &record{}, &csipb.ControllerPublishVolumeRequest{VolumeId: "vol-1", NodeId: "i-1"},
		func(context.Context, any) (any, error) {
			return nil, fault.New(fault.InUse, "publish", "vol-1", "held by i-2")
		})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("error %v", err)
	}
	if n := strings.Count(log, "held by i-2"); n != 1 || !strings.Contains(log, `kind="in use"`) || !strings.Contains(log, "i-1") {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

func TestBoundary_EndsBeforeTheCallerGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, caller := range map[string]context.Context{"with a deadline": ctx, "without one": t.Context()} {
		_, err := through(caller, t, &record{}, &csipb.ProbeRequest{}, func(ctx context.Context, _ any) (any, error) {
			left, ok := ctx.Deadline()
			limit := defaultDeadline
			if at, has := caller.Deadline(); has {
				limit = time.Until(at) - 500*time.Millisecond
			}
			if !ok || time.Until(left) > limit {
				return nil, fmt.Errorf("deadline in %v (%v), want at most %v", time.Until(left), ok, limit)
			}
			return nil, nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const secret = "s3cr3t-value"

// TestBoundary_NoSecretIsEverLogged fills every field that the CSI specification
// marks as secret, and every map, in every request, and lets the call fail.
func TestBoundary_NoSecretIsEverLogged(t *testing.T) {
	messages := csipb.File_csi_proto.Messages()
	filled := 0
	for i := range messages.Len() {
		descriptor := messages.Get(i)
		if !strings.HasSuffix(string(descriptor.Name()), "Request") {
			continue
		}
		kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
		if err != nil {
			t.Fatal(err)
		}
		req := kind.New().Interface()
		filled += fillSecrets(req.ProtoReflect())
		log, err := through(t.Context(), t, &record{}, req, func(context.Context, any) (any, error) {
			return nil, fault.New(fault.Internal, "op", "subject", "it failed")
		})
		if strings.Contains(log, secret) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the secret is in\n%s\n%v", descriptor.Name(), log, err)
		}
	}
	if filled < 20 {
		t.Errorf("only %d fields were filled; does the specification mark secrets otherwise now?", filled)
	}
}

func fillSecrets(m protoreflect.Message) int {
	n := 0
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsMap() && f.MapValue().Kind() == protoreflect.StringKind {
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("key").MapKey(), protoreflect.ValueOfString(secret))
			n++
		}
	}
	return n
}
