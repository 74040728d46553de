package cpi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestErrorOf_EveryKind(t *testing.T) {
	want := map[fault.Kind]Outcome{
		fault.Internal:           {"Bosh::Clouds::CloudError", false},
		fault.Invalid:            {"Bosh::Clouds::CloudError", false},
		fault.NotFound:           {"Bosh::Clouds::DiskNotFound", false},
		fault.Conflict:           {"Bosh::Clouds::CloudError", false},
		fault.InUse:              {"Bosh::Clouds::CloudError", false},
		fault.OutOfRange:         {"Bosh::Clouds::CloudError", false},
		fault.FailedPrecondition: {"Bosh::Clouds::CloudError", false},
		fault.Limit:              {"Bosh::Clouds::NoDiskSpace", true},
		fault.Pending:            {"Bosh::Clouds::CloudError", true},
		fault.Unavailable:        {"Bosh::Clouds::CloudError", true},
		fault.UnknownOutcome:     {"Bosh::Clouds::CloudError", false},
		fault.Denied:             {"Bosh::Clouds::CloudError", false},
		fault.Unsupported:        {"Bosh::Clouds::NotSupported", false},
	}
	for _, kind := range fault.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			w, ok := want[kind]
			if !ok {
				t.Fatalf("kind %v has no row: decide what the Director should do", kind)
			}
			got := errorOf(fmt.Errorf("wrapped: %w", fault.New(kind, "attach", "vol-1", "refused")))
			if got.Type != w.Type || got.OKToRetry != w.OKToRetry || !strings.Contains(got.Message, "attach vol-1: refused") {
				t.Errorf("got %+v, want %+v", got, w)
			}
		})
	}
}

func TestErrorOf_AMissingVMIsNoMissingDisk(t *testing.T) {
	inner := fault.New(fault.NotFound, "describe", "i-0123456789abcdef0", "no such instance")
	got := errorOf(fault.Wrap("attach", "vol-1", fmt.Errorf("asking: %w", inner)))
	if got.Type != VMNotFound {
		t.Errorf("a missing instance is told as %s: the Director would drop its record of the disk", got.Type)
	}
}

func TestErrorOf_PlainErrorIsOurBug(t *testing.T) {
	if got := errorOf(errors.New("boom")); got.Type != CPIError || got.OKToRetry {
		t.Errorf("got %+v", got)
	}
}

func TestErrorOf_NotAttached(t *testing.T) {
	got := errorOf(fault.Wrap("detach", "vol-1", &fault.Error{Kind: fault.InUse, Err: volume.ErrNotAttached}))
	if got.Type != DiskNotAttached || !got.OKToRetry {
		t.Errorf("got %+v", got)
	}
}

func TestServer_PanicIsAnAnswer(t *testing.T) {
	s := &Server{Open: func(context.Context, Settings) (*broker.Broker, func(), error) { panic("boom") }}
	got := serveWith(t, s, `{"method":"has_disk","arguments":["vol-00000001"],"api_version":2,"context":`+credentials+`}`)
	if got.Error == nil || got.Error.Type != string(CPIError) || !strings.Contains(got.Error.Message, "bug in diskbridge") || !strings.Contains(got.Log, "boom") {
		t.Errorf("got %+v", got)
	}
}

// FuzzCPIRequest: whatever comes, the answer is a strict one.
func FuzzCPIRequest(f *testing.F) {
	for _, seed := range []string{
		`{"method":"info","arguments":[],"context":{}}`, `{"method":"\u0000"}`, "{\"method\":\"\xff\"}", `[[[[`, ``,
		`{"method":"create_disk","arguments":[1e3,{"type":"gp3","encrypted":"false","tags":{"a":null}},null],"api_version":3,"context":` + credentials + `}`,
		`{"method":"update_disk","arguments":["vol-00000001",9223372036854775807,{"name":[]}],"api_version":2,"context":` + credentials + `}`,
		`{"method":"attach_disk","arguments":["",""],"api_version":2,"context":{"vm":7,"diskbridge":{"timeouts":{"attach_disk":0}}}}`,
		`{"method":"snapshot_disk","arguments":["vol-00000001",{"index":0,"job":null}],"api_version":2,"context":` + credentials + `}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, request string) { serve(t, request) })
}
