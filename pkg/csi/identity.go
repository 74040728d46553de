package csi

import (
	"context"
	"sync"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/klog/v2"
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

	mu   sync.Mutex // guards below
	told string     // why it was not ready, as the log says
	when time.Time
}

// readyLimit is how long Ready may take: callers that wait for minutes should learn the reason before.
const readyLimit = 8 * time.Second

// tellAgain is how often the log says what keeps the plugin from being ready.
const tellAgain = time.Minute

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

// Probe answers whether the plugin can work. One that cannot yet is not ready, and that is no error: at an error Kubernetes'
// sidecars end, and the more often they have, the later they come back.
func (s *Identity) Probe(ctx context.Context, _ *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	limited, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	err := s.Ready(limited)
	s.tell(ctx, err)
	return &csipb.ProbeResponse{Ready: wrapperspb.Bool(err == nil)}, nil
}

// tell logs what keeps the plugin from being ready; sidecars ask every second.
func (s *Identity) tell(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && s.told != "":
		klog.FromContext(ctx).Info("Ready")
		s.told = ""
	case err != nil && (err.Error() != s.told || time.Since(s.when) >= tellAgain):
		klog.FromContext(ctx).Info("Not ready", "reason", err.Error())
		s.told, s.when = err.Error(), time.Now()
	}
}
