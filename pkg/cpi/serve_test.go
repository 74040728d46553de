package cpi

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// strict decodes a response as the Director's schema does: all three keys, no others, and error complete.
type strict struct {
	Result json.RawMessage
	Error  *struct {
		Type, Message string
		OKToRetry     bool
	}
	Log string
}

func serve(t testing.TB, request string) strict {
	t.Helper()
	return serveWith(t, &Server{}, request)
}

// serveWith answers a request with the server, whose engine is a fake unless it has one.
func serveWith(t testing.TB, s *Server, request string) strict {
	t.Helper()
	if s.Open == nil {
		s.Open = (&fakeDisks{}).open
	}
	s.Stderr, s.Parameters = io.Discard, fakeParameters
	var out strings.Builder
	if err := s.Serve(context.Background(), strings.NewReader(request), &out); err != nil {
		t.Fatalf("Serve: %v", err)
	}
	return decode(t, out.String())
}

func decode(t testing.TB, text string) strict {
	t.Helper()
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatalf("the response is no JSON object: %v\n%s", err, text)
	}
	if len(keys) != 3 || keys["result"] == nil || keys["error"] == nil || keys["log"] == nil {
		t.Fatalf("the response has not exactly the keys result, error and log: %s", text)
	}
	var s strict
	s.Result = keys["result"]
	if err := json.Unmarshal(keys["log"], &s.Log); err != nil || string(keys["log"]) == "null" {
		t.Fatalf("log is no string: %s", text)
	}
	if string(keys["error"]) == "null" {
		return s
	}
	if string(s.Result) != "null" {
		t.Fatalf("a response with an error also has a result: %s", text)
	}
	var e struct {
		Type    *string `json:"type"`
		Message *string `json:"message"`
		OK      *bool   `json:"ok_to_retry"`
	}
	if err := json.Unmarshal(keys["error"], &e); err != nil || e.Type == nil || e.Message == nil || e.OK == nil {
		t.Fatalf("error lacks type, message or ok_to_retry: %s", text)
	}
	s.Error = &struct {
		Type, Message string
		OKToRetry     bool
	}{*e.Type, *e.Message, *e.OK}
	return s
}

func TestServe_Info(t *testing.T) {
	for _, tc := range []struct{ name, request string }{
		{"as the Director asks", `{"method":"info","arguments":[],"context":{"director_uuid":"d-1"}}`},
		{"as the CLI asks", `{"method":"info","arguments":[],"context":{},"api_version":1}`},
		{"with a version of the future and unknown keys", `{"method":"info","arguments":[],"context":{},"api_version":9,"more":1}`},
		{"with arguments left out", `{"method":"info"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := serve(t, tc.request)
			if diff := cmp.Diff(`{"api_version":2,"stemcell_formats":[]}`, string(got.Result)); diff != "" || got.Error != nil {
				t.Errorf("info answered %+v\n%s", got.Error, diff)
			}
		})
	}
}

func TestServe_Refuses(t *testing.T) {
	for _, tc := range []struct{ name, request, errorType, message string }{
		{"nothing", ``, "Bosh::Clouds::CpiError", "the request is empty"},
		{"half an object", `{"method":"in`, "Bosh::Clouds::CpiError", "no JSON"},
		{"two objects", `{"method":"info"} {"method":"info"}`, "Bosh::Clouds::CpiError", "no JSON"},
		{"an array", `[]`, "Bosh::Clouds::CpiError", "the request is a JSON array; expected an object"},
		{"no method", `{"arguments":[]}`, "Bosh::Clouds::CpiError", `no "method"`},
		{"null", `null`, "Bosh::Clouds::CpiError", `no "method"`},
		{"a method that is a number", `{"method":1}`, "Bosh::Clouds::CpiError", `"method" is a JSON number; expected a string`},
		{"arguments that are an object", `{"method":"info","arguments":{}}`, "Bosh::Clouds::CpiError", `"arguments" is a JSON object; expected an array`},
		{"a context that is a string", `{"method":"info","context":"x"}`, "Bosh::Clouds::CpiError", `"context" is a JSON string; expected an object`},
		{"a version that is a fraction", `{"method":"info","api_version":1.5}`, "Bosh::Clouds::CpiError", `"api_version" is a JSON number 1.5; expected an integer`},
		{"version zero", `{"method":"info","api_version":0}`, "Bosh::Clouds::CpiError", `"api_version" is 0; it starts at 1`},
		{"too many arguments", `{"method":"info","arguments":[1]}`, "Bosh::Clouds::CpiError", "info takes 0 arguments, got 1"},
		{"an unknown method", `{"method":"reboot_disk","arguments":[]}`, "Bosh::Clouds::NotImplemented", `"reboot_disk" is not implemented`},
		{"a method of virtual machines", `{"method":"create_vm","arguments":[]}`, "Bosh::Clouds::NotImplemented", "set diskbridge.delegate.exec_path"},
		{"the first version", `{"method":"has_disk","arguments":["vol-1"],"api_version":1}`, "Bosh::Clouds::CpiError", "needs CPI API version 2 or later, and the request has 1: diskbridge keeps no registry"},
		{"no version", `{"method":"attach_disk","arguments":["i-1","vol-1"]}`, "Bosh::Clouds::CpiError", "needs CPI API version 2"},
		{"no credentials", `{"method":"has_disk","arguments":["vol-1"],"api_version":2}`, "Bosh::Clouds::CpiError", "credentials_source static needs access_key_id"},
		{"too few arguments", `{"method":"has_disk","arguments":[],"api_version":2}`, "Bosh::Clouds::CpiError", "has_disk takes 1 argument, got 0"},
		{"more than it reads", `{"method":"` + strings.Repeat("x", MaxRequest) + `"}`, "Bosh::Clouds::CpiError", "longer than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := serve(t, tc.request)
			if got.Error == nil || got.Error.Type != tc.errorType || !strings.Contains(got.Error.Message, tc.message) || got.Error.OKToRetry {
				t.Errorf("got %+v, want %s with %q, not to be retried", got.Error, tc.errorType, tc.message)
			}
		})
	}
}

func TestServe_NeverQuotesArguments(t *testing.T) {
	got := serve(t, `{"method":"info","arguments":["hunter2"`)
	if got.Error == nil || strings.Contains(got.Error.Message, "hunter2") {
		t.Errorf("the error must be there and must not show an argument: %+v", got.Error)
	}
}

func TestServe_SaysThatItCouldNotWrite(t *testing.T) {
	_, closed := io.Pipe()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	s := Server{Stderr: io.Discard}
	if err := s.Serve(context.Background(), strings.NewReader(`{"method":"info"}`), closed); err == nil {
		t.Error("Serve returned nil though nobody got the answer")
	}
}
