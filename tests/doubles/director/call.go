package director

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
)

// Director calls one CPI.
type Director struct {
	Exec       string         // the CPI's executable, as /var/vcap/jobs/<cpi_job>/bin/cpi
	UUID       string         // of the Director
	Home       string         // for HOME and TMPDIR
	Properties map[string]any // of the CPI config; they are merged flat into the context
	Stemcell   int            // api_version of the stemcell; 0: none is involved
	// Library is the folder bosh-director/lib of the Director itself. If it is set, its own code calls the CPI and judges
	// the answers; ruby and the gem membrane have to be there.
	Library string

	Log     []string // the answers' log keys
	Methods []string // the methods that were called, info left out

	vms     []*VM
	orphans []string
	dynamic map[string]*dynamicDisk
}

// Failure is an error that the CPI answered.
type Failure struct {
	Type      string
	Message   string
	OKToRetry bool
}

// Error implements error.
func (f *Failure) Error() string { return f.Type + ": " + f.Message }

// Is reports whether an error is the CPI's of that type, such as "NotSupported".
func Is(err error, kind string) bool {
	var f *Failure
	return errors.As(err, &f) && f.Type == "Bosh::Clouds::"+kind
}

// TypeOf is the type of the CPI's error, or "" where it is none that the Director knows.
func TypeOf(err error) string {
	var f *Failure
	if errors.As(err, &f) && slices.Contains(known(), strings.TrimPrefix(f.Type, "Bosh::Clouds::")) {
		return f.Type
	}
	return ""
}

// known are the Director's error types (external_cpi.rb, KNOWN_RPC_ERRORS); another fails the task as UnknownError.
func known() []string {
	return []string{"CpiError", "NotSupported", "NotImplemented", "CloudError", "VMNotFound", "NoDiskSpace", "DiskNotAttached",
		"DiskNotFound", "VMCreationFailed", "NetworkNotFound"}
}

// preferred is the newest contract that Director v283 speaks.
const preferred = 3

// Call asks for info and then for the method, each in a process of its own, and returns the result.
func (d *Director) Call(ctx context.Context, method string, arguments ...any) (json.RawMessage, error) {
	if d.Library != "" {
		d.Methods = append(d.Methods, method)
		return d.callByLibrary(ctx, method, arguments...)
	}
	text, err := d.run(ctx, "info", 0)
	if err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	var info struct {
		APIVersion *int     `json:"api_version"`
		Formats    []string `json:"stemcell_formats"`
	}
	if err := json.Unmarshal(text, &info); err != nil || info.APIVersion == nil || *info.APIVersion < 2 {
		return nil, fmt.Errorf("info answered %s: the Director refuses CPIs below version 2", text)
	}
	d.Methods = append(d.Methods, method)
	result, err := d.run(ctx, method, min(*info.APIVersion, preferred), arguments...)
	if err == nil && method == "attach_disk" && (string(result) == "null" || string(result) == `""`) {
		err = errors.New("AttachDiskResponseError: No disk_hint")
	}
	return result, err
}

// run is external_cpi.rb: the environment is scrubbed, the exit status ignored, the answer checked strictly.
func (d *Director) run(ctx context.Context, method string, version int, arguments ...any) (json.RawMessage, error) {
	request := map[string]any{"method": method, "arguments": append([]any{}, arguments...), "context": d.context()}
	if version > 0 { // info has none
		request["api_version"] = version
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, d.Exec)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + d.Home, "HOME=" + d.Home}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	result, log, err := parse(stdout.Bytes())
	d.Log = append(d.Log, log)
	var failure *Failure
	if err != nil && !errors.As(err, &failure) {
		err = fmt.Errorf("%s: %w; stderr: %s", method, err, stderr.String())
	}
	return result, err
}

func (d *Director) context() map[string]any {
	c := map[string]any{"director_uuid": d.UUID, "request_id": fmt.Sprintf("cpi-%06d", 100000+rand.IntN(900000))}
	maps.Copy(c, d.Properties)
	if d.Stemcell > 0 {
		c["vm"] = map[string]any{"stemcell": map[string]any{"api_version": d.Stemcell}}
	}
	return c
}

// parse holds an answer against the Director's schema.
func parse(text []byte) (result json.RawMessage, log string, err error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, "", fmt.Errorf("InvalidResponse: %w: %.200s", err, text)
	}
	for _, key := range []string{"result", "error", "log"} {
		if _, ok := keys[key]; !ok {
			return nil, "", fmt.Errorf("SchemaValidationError: no %s in %.200s", key, text)
		}
	}
	if err := json.Unmarshal(keys["log"], &log); err != nil || string(keys["log"]) == "null" {
		return nil, "", fmt.Errorf("SchemaValidationError: log is no string in %.200s", text)
	}
	if string(keys["error"]) == "null" {
		return keys["result"], log, nil
	}
	var e struct {
		Type    *string `json:"type"`
		Message *string `json:"message"`
		OK      *bool   `json:"ok_to_retry"`
	}
	if err := json.Unmarshal(keys["error"], &e); err != nil || e.Type == nil || e.Message == nil || e.OK == nil {
		return nil, log, fmt.Errorf("SchemaValidationError: error is not complete in %.200s", text)
	}
	short, ours := strings.CutPrefix(*e.Type, "Bosh::Clouds::")
	if !ours || !slices.Contains(known(), short) {
		return nil, log, fmt.Errorf("UnknownError: the CPI answered the type %q: %s", *e.Type, *e.Message)
	}
	return nil, log, &Failure{*e.Type, *e.Message, *e.OK}
}

// Text is the result of a method that answers a string.
func (d *Director) Text(ctx context.Context, method string, arguments ...any) (string, error) {
	raw, err := d.Call(ctx, method, arguments...)
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("%s answered %s, no string", method, raw)
	}
	return text, nil
}
