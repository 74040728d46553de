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

// found is a backend whose volumes all exist, for one node.
type found struct{ backend.Backend }

func (found) Get(context.Context, string) (volume.Volume, error) { return volume.Volume{}, nil }
func (found) Supports(volume.Capability) error                   { return nil }

func TestController_ConfirmsOnlyWhatIsSo(t *testing.T) {
	s := &Controller{
		Kind:   backend.Kind{Name: volume.EBS, Parameters: backend.Parameters{{Key: "type", Type: backend.String, OneOf: []string{"gp3"}}}},
		Broker: broker.New(map[volume.Kind]backend.Backend{volume.EBS: found{}}),
	}
	for name, tc := range map[string]struct {
		parameters map[string]string
		mode       csipb.VolumeCapability_AccessMode_Mode
		message    string
	}{
		"all of it":            {map[string]string{"Type": "gp3"}, csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, ""},
		"an unknown parameter": {map[string]string{"typ": "gp3"}, csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, `unknown parameter "typ"; did you mean "type"?`},
		"several nodes":        {nil, csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, "the volume cannot be attached to several nodes"},
	} {
		got, err := s.ValidateVolumeCapabilities(t.Context(), &csipb.ValidateVolumeCapabilitiesRequest{
			VolumeId: "vol-0123456789abcdef0", Parameters: tc.parameters,
			VolumeCapabilities: []*csipb.VolumeCapability{{
				AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}},
				AccessMode: &csipb.VolumeCapability_AccessMode{Mode: tc.mode},
			}},
		})
		if err != nil || got.GetMessage() != tc.message || (got.GetConfirmed() != nil) != (tc.message == "") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
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
