package csi

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// TestIdentity_ProbeWaits: sidecars end at an error of Probe, and ask again every second where it is not ready.
func TestIdentity_ProbeWaits(t *testing.T) {
	var log bytes.Buffer
	ctx := klog.NewContext(t.Context(), textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))))
	var why error
	s := &Identity{Ready: func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a cloud that never answers keeps the reason for ever")
		}
		return why
	}}
	for _, why = range []error{errors.New("no credentials"), errors.New("no credentials"), errors.New("no network"), nil, nil} {
		answer, err := s.Probe(ctx, &csipb.ProbeRequest{})
		if err != nil || answer.GetReady().GetValue() != (why == nil) {
			t.Errorf("%v: %v, %v", why, answer, err)
		}
	}
	for line, want := range map[string]int{`"Not ready" reason="no credentials"`: 1, `"Not ready" reason="no network"`: 1, `"Ready"`: 1} {
		if n := strings.Count(log.String(), line); n != want {
			t.Errorf("%s is told %d times:\n%s", line, n, &log)
		}
	}
}
