package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

func TestError_KeepsItsKindThroughWrapping(t *testing.T) {
	cause := &fault.Error{Op: "AttachVolume", Subject: "vol-1", Kind: fault.InUse, Code: "VolumeInUse"}
	err := fmt.Errorf("more context: %w", fault.Wrap("publish", "vol-1", fmt.Errorf("inner: %w", cause)))
	if got := fault.KindOf(err); got != fault.InUse {
		t.Errorf("KindOf = %v, want %v", got, fault.InUse)
	}
	if got := fault.CodeOf(err); got != "VolumeInUse" {
		t.Errorf("CodeOf = %q, want VolumeInUse", got)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
}

func TestKindOf_PlainErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want fault.Kind
	}{
		{"a cancelled context has an unknown outcome", fmt.Errorf("call: %w", context.Canceled), fault.UnknownOutcome},
		{"a passed deadline has an unknown outcome", context.DeadlineExceeded, fault.UnknownOutcome},
		{"an error without a kind is internal", errors.New("boom"), fault.Internal},
		{"an explicit kind beats the context's", fault.New(fault.Pending, "wait", "vol-1", "still creating"), fault.Pending},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := fault.KindOf(tc.err); got != tc.want {
				t.Errorf("KindOf = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestKind_StringNamesEveryKind(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range fault.Kinds() {
		name := k.String()
		if name == "" || seen[name] {
			t.Errorf("kind %d has no name of its own: %q", int(k), name)
		}
		seen[name] = true
	}
}

func TestWrap_NilStaysNil(t *testing.T) {
	if err := fault.Wrap("publish", "vol-1", nil); err != nil {
		t.Errorf("Wrap(nil) = %v", err)
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("Is(nil) must be false for every kind")
	}
}

func TestWrap_SaysNothingTwice(t *testing.T) {
	cause := fault.New(fault.NotFound, "publish", "vol-1", "it does not exist")
	for want, err := range map[string]error{
		"publish vol-1: it does not exist":              fault.Wrap("publish", "vol-1", cause),
		"publish i-1: publish vol-1: it does not exist": fault.Wrap("publish", "i-1", cause),
	} {
		if err.Error() != want || !fault.Is(err, fault.NotFound) {
			t.Errorf("%q (%v), want %q", err, fault.KindOf(err), want)
		}
	}
}

func TestError_TextReadsOperationSubjectMessageCode(t *testing.T) {
	err := &fault.Error{Op: "attach", Subject: "vol-1", Kind: fault.Limit, Message: "node i-1 is full", Code: "AttachmentLimitExceeded"}
	if got, want := err.Error(), "attach vol-1: node i-1 is full (AttachmentLimitExceeded)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}
