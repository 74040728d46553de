// Package registration tells kubelet where the node's CSI plugin is, as the sidecar
// node-driver-registrar does. It knows kubelet's plugin registration API, and must
// not know CSI.
package registration
