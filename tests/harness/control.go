package harness

import (
	"context"
	"fmt"
	"net/http"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// Truth is what an emulator holds, as it truly is, whatever it shows its callers yet.
type Truth struct {
	Volumes   []TrueVolume   `json:"volumes"`
	Snapshots []TrueSnapshot `json:"snapshots"`

	FileSystems  []TrueFileSystem  `json:"file_systems"`
	AccessPoints []TrueAccessPoint `json:"access_points"`
	Buckets      []string          `json:"buckets"`
}

// TrueFileSystem is an EFS file system with its mount targets.
type TrueFileSystem struct {
	ID           string            `json:"id"`
	State        string            `json:"state"`
	Throughput   string            `json:"throughput"`
	Lifecycle    int               `json:"lifecycle"` // number of policies
	Tags         map[string]string `json:"tags"`
	MountTargets []struct {
		ID, State, Zone, IP string
	} `json:"mount_targets"`
}

// TrueAccessPoint is an EFS access point.
type TrueAccessPoint struct {
	ID         string            `json:"id"`
	FileSystem string            `json:"file_system"`
	State      string            `json:"state"`
	Tags       map[string]string `json:"tags"`
}

// TrueVolume is a volume.
type TrueVolume struct {
	ID          string            `json:"id"`
	State       string            `json:"state"`
	SizeGiB     int64             `json:"size_gib"`
	IOPS        int32             `json:"iops"` // operations per second
	Tags        map[string]string `json:"tags"`
	Attachments []TrueAttachment  `json:"attachments"`
}

// TrueAttachment is an attachment of a volume.
type TrueAttachment struct {
	Instance string `json:"instance"`
	Device   string `json:"device"`
	State    string `json:"state"`
	Force    bool   `json:"force"` // it ends by force
}

// TrueSnapshot is a snapshot.
type TrueSnapshot struct {
	ID     string            `json:"id"`
	Volume string            `json:"volume"`
	State  string            `json:"state"`
	Tags   map[string]string `json:"tags"`
}

// ReadTruth asks the emulator what it holds.
func ReadTruth(ctx context.Context, e *sandbox.Emulator) (Truth, error) {
	var t Truth
	err := e.Control(ctx, http.MethodGet, "state", nil, &t)
	return t, err
}

// On is the volume's attachment to the instance, if it has one.
func (v TrueVolume) On(instance string) (TrueAttachment, bool) {
	for _, a := range v.Attachments {
		if a.Instance == instance {
			return a, true
		}
	}
	return TrueAttachment{}, false
}

// Fault is one of the emulator's faults; see aws-emulator --help.
type Fault struct {
	Operation   string  `json:"operation"`
	Value       string  `json:"value,omitempty"` // that a parameter must have; empty: every call
	Nth         int     `json:"nth,omitempty"`
	Probability float64 `json:"probability,omitempty"`
	Effect      string  `json:"effect"`
	Code        string  `json:"code,omitempty"`
	DelayMS     int     `json:"delay_ms,omitempty"`
}

// SetFaults adds faults to those that are set.
func SetFaults(ctx context.Context, e *sandbox.Emulator, faults ...Fault) error {
	return e.Control(ctx, http.MethodPost, "faults", faults, nil)
}

// ClearFaults drops every fault and ends the calls that are held without an answer.
func ClearFaults(ctx context.Context, e *sandbox.Emulator) error {
	return e.Control(ctx, http.MethodDelete, "faults", nil, nil)
}

// Held returns how many calls the emulator holds.
func Held(ctx context.Context, e *sandbox.Emulator) (int, error) {
	var held []struct{}
	err := e.Control(ctx, http.MethodGet, "held", nil, &held)
	return len(held), err
}

// Speed makes the emulator's time run that many times as fast as ours.
func Speed(ctx context.Context, e *sandbox.Emulator, speed float64) error {
	if err := e.Control(ctx, http.MethodPost, "clock", map[string]float64{"speed": speed}, nil); err != nil {
		return fmt.Errorf("set the emulator's speed: %w", err)
	}
	return nil
}
