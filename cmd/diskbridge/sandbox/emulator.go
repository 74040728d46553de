package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Emulator is a running aws-emulator.
type Emulator struct {
	*Process
	Endpoint  string
	Instances []Instance
}

// Instance is one of the emulator's machines; its trees are what its node should take for /dev and /sys.
type Instance struct {
	ID         string `json:"id"`
	Zone       string `json:"zone"`
	IMDS       string `json:"imds"`
	DeviceRoot string `json:"device_root"`
	SysfsRoot  string `json:"sysfs_root"`
}

// MetadataEnv is the environment that lets a node ask the instance's metadata service, and no other.
func (i Instance) MetadataEnv() []string {
	return []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + i.IMDS}
}

// Region is the emulator's region.
const Region = "us-east-1"

// StartEmulator starts the aws-emulator in the folder bin and waits until it serves.
// args are its flags; --listen is added.
func StartEmulator(ctx context.Context, bin string, env []string, args ...string) (*Emulator, error) {
	p, err := Start("aws-emulator", bin+"/aws-emulator", append([]string{"--listen=127.0.0.1:0"}, args...), env)
	if err != nil {
		return nil, err
	}
	watched, cancel := p.watch(ctx)
	defer cancel()
	line, err := p.out.firstLine(watched)
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("waiting for aws-emulator: %w", err)
	}
	e := &Emulator{Process: p}
	var ready struct {
		Endpoint  string     `json:"endpoint"`
		Instances []Instance `json:"instances"`
	}
	if err := json.Unmarshal([]byte(line), &ready); err != nil || ready.Endpoint == "" {
		p.Kill()
		return nil, fmt.Errorf("aws-emulator's first line is not the promised JSON: %.200q", line)
	}
	e.Endpoint, e.Instances = ready.Endpoint, ready.Instances
	return e, nil
}

// CloudEnv is the environment that lets a controller reach the emulator.
func (e *Emulator) CloudEnv() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + e.Endpoint, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_REGION=" + Region, "AWS_EC2_METADATA_DISABLED=true",
	}
}

// State is what the emulator holds, as far as a leak check needs it.
type State struct {
	Volumes      []Resource
	Snapshots    []Resource
	FileSystems  []Resource `json:"file_systems"`
	AccessPoints []Resource `json:"access_points"`
	Buckets      []string
}

// Resource is something that the emulator holds.
type Resource struct {
	ID    string
	State string
}

// Left names what is still there.
func (s State) Left() []string {
	var left []string
	for _, r := range slices.Concat(s.Volumes, s.Snapshots, s.FileSystems, s.AccessPoints) {
		left = append(left, r.ID+" ("+r.State+")")
	}
	return append(left, s.Buckets...)
}

// State asks the emulator what it holds.
func (e *Emulator) State(ctx context.Context) (State, error) {
	var s State
	err := e.Control(ctx, http.MethodGet, "state", nil, &s)
	return s, err
}

// Calls is how often an operation was called, by outcome.
type Calls struct{ OK, Throttled, Error int }

// Calls asks the emulator which AWS operations it has served.
func (e *Emulator) Calls(ctx context.Context) (map[string]Calls, error) {
	calls := map[string]Calls{}
	err := e.Control(ctx, http.MethodGet, "calls", nil, &calls)
	return calls, err
}

// Control sends one request to the emulator's own endpoints, below /_emulator/.
// body and answer are JSON; both may be nil.
func (e *Emulator) Control(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, e.Endpoint+"/_emulator/"+path, strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("emulator: %s %s: %s: %.200s", method, path, resp.Status, reply)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(reply, answer); err != nil {
		return fmt.Errorf("emulator: %s %s: %w", method, path, err)
	}
	return nil
}
