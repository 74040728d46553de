package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
)

// controlPrefix is where the emulator itself is spoken to.
const controlPrefix = "/_emulator/"

// control answers the control endpoints, to callers on this machine only.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "the control endpoints answer only loopback callers"})
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == controlPrefix+"events" {
		s.events(w, r)
		return
	}
	handle, ok := s.controls()[r.Method+" "+strings.TrimPrefix(r.URL.Path, controlPrefix)]
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{
			"error": "no such control; there are GET calls, state, events, faults, held, clock, instances and POST faults, release, clock, reset and DELETE faults",
		})
		return
	}
	answer, err := handle(r.Context(), json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

type controlHandler func(context.Context, *json.Decoder) (any, error)

func (s *Server) controls() map[string]controlHandler {
	tell := func(answer func() any) controlHandler {
		return func(context.Context, *json.Decoder) (any, error) { return answer(), nil }
	}
	return map[string]controlHandler{
		"GET calls":     tell(func() any { return s.Calls() }),
		"GET state":     tell(func() any { return s.State() }),
		"GET instances": tell(func() any { return s.Instances() }),
		"GET faults":    tell(func() any { return s.Faults() }),
		"GET held":      tell(func() any { return s.Held() }),
		"GET clock":     tell(s.clockState),
		"POST faults":   s.postFaults,
		"DELETE faults": s.deleteFaults,
		"POST release":  s.postRelease,
		"POST clock":    s.postClock,
		"POST reset": func(ctx context.Context, _ *json.Decoder) (any, error) {
			return struct{}{}, s.Reset(ctx)
		},
	}
}

func (s *Server) clockState() any {
	return struct {
		Now   time.Time `json:"now"`
		Speed float64   `json:"speed"`
	}{s.options.Clock.Now(), s.options.Clock.Speed()}
}

func (s *Server) postFaults(_ context.Context, body *json.Decoder) (any, error) {
	var rules []faults.Rule
	body.DisallowUnknownFields()
	if err := body.Decode(&rules); err != nil {
		return nil, errors.New("faults: the body is not a list of faults: " + err.Error())
	}
	return struct{}{}, s.AddFaults(rules...)
}

// deleteFaults drops all faults, or, with a body, those that are set for one value.
func (s *Server) deleteFaults(_ context.Context, body *json.Decoder) (any, error) {
	var which struct {
		Value string `json:"value"`
	}
	body.DisallowUnknownFields()
	switch err := body.Decode(&which); {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, errors.New(`faults: the body is neither empty nor {"value": "VALUE"}: ` + err.Error())
	case which.Value != "":
		s.faults.ClearValue(which.Value)
	default:
		s.ClearFaults()
	}
	return struct{}{}, nil
}

func (s *Server) postRelease(_ context.Context, body *json.Decoder) (any, error) {
	var which struct {
		Operation string `json:"operation"`
	}
	if err := body.Decode(&which); err != nil || which.Operation == "" {
		return nil, errors.New(`release: the body is not {"operation": "NAME"}; "*" means all`)
	}
	return map[string]int{"released": s.Release(which.Operation)}, nil
}

func (s *Server) postClock(ctx context.Context, body *json.Decoder) (any, error) {
	var set struct {
		Speed   *float64 `json:"speed"`
		Advance float64  `json:"advance_seconds"`
	}
	body.DisallowUnknownFields()
	if err := body.Decode(&set); err != nil || set.Advance < 0 {
		return nil, errors.New(`clock: the body is not {"speed": N} or {"advance_seconds": N}, with N not negative`)
	}
	if set.Speed != nil {
		if err := s.SetSpeed(*set.Speed); err != nil {
			return nil, err
		}
	}
	return s.clockState(), s.Advance(ctx, time.Duration(set.Advance*float64(time.Second)))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a caller that went away is its own affair
}
