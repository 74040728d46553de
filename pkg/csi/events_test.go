package csi

import (
	"context"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// keeper is a backend that gives volumes back instead of deleting them.
type keeper struct {
	backend.Backend
	kept string
}

func (k keeper) Delete(context.Context, string) (string, error) { return k.kept, nil }

type events []string

func (e *events) Warn(driver, handle, reason, message string) {
	*e = append(*e, driver+" "+handle+" "+reason+": "+message)
}

func TestController_WarnsOfWhatItKept(t *testing.T) {
	for kept, want := range map[string][]string{
		"":             nil,
		"BOSH made it": {"d vol-0123456789abcdef0 VolumeKept: volume vol-0123456789abcdef0 was not deleted in AWS: BOSH made it"},
	} {
		var got events
		s := &Controller{Kind: backend.Kind{Name: volume.EBS}, Driver: "d", Events: &got, Broker: broker.New(map[volume.Kind]backend.Backend{volume.EBS: keeper{kept: kept}})}
		request := &csipb.DeleteVolumeRequest{VolumeId: "vol-0123456789abcdef0"}
		if _, err := s.DeleteVolume(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Errorf("kept %q: events %q, want %q", kept, got, want)
		}
		s.Events = nil // nobody reads them
		if _, err := s.DeleteVolume(t.Context(), request); err != nil {
			t.Error(err)
		}
	}
}
