package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Identity answers who the plugin is.
type Identity struct {
	csipb.UnimplementedIdentityServer

	Driver     string
	Version    string
	Controller bool // the controller service is served
	Zonal      bool
	Grows      bool // volumes can grow
	// Manifest tells what else there is to know, such as that the cloud is an emulator.
	Manifest func() map[string]string
	// Ready answers Probe: nil once the plugin can work.
	Ready func(ctx context.Context) error
}

var _ csipb.IdentityServer = (*Identity)(nil)

// GetPluginInfo answers name, version and manifest.
func (s *Identity) GetPluginInfo(context.Context, *csipb.GetPluginInfoRequest) (*csipb.GetPluginInfoResponse, error) {
	return &csipb.GetPluginInfoResponse{Name: s.Driver, VendorVersion: s.Version, Manifest: s.Manifest()}, nil
}

// GetPluginCapabilities answers which services and properties there are.
func (s *Identity) GetPluginCapabilities(context.Context, *csipb.GetPluginCapabilitiesRequest) (*csipb.GetPluginCapabilitiesResponse, error) {
	out := &csipb.GetPluginCapabilitiesResponse{}
	if s.Grows {
		out.Capabilities = append(out.Capabilities, &csipb.PluginCapability{
			Type: &csipb.PluginCapability_VolumeExpansion_{VolumeExpansion: &csipb.PluginCapability_VolumeExpansion{Type: csipb.PluginCapability_VolumeExpansion_ONLINE}},
		})
	}
	service := func(t csipb.PluginCapability_Service_Type) {
		out.Capabilities = append(out.Capabilities, &csipb.PluginCapability{
			Type: &csipb.PluginCapability_Service_{Service: &csipb.PluginCapability_Service{Type: t}},
		})
	}
	if s.Controller {
		service(csipb.PluginCapability_Service_CONTROLLER_SERVICE)
	}
	if s.Zonal {
		service(csipb.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS)
	}
	return out, nil
}

// Probe answers whether the plugin can work.
func (s *Identity) Probe(ctx context.Context, _ *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	if err := s.Ready(ctx); err != nil {
		return nil, Status(err)
	}
	return &csipb.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}
