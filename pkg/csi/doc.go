// Package csi is the Kubernetes door: it turns CSI's protobufs into the plain
// values of pkg/volume and faults into gRPC codes. It knows no cloud and no kind
// of disk; protobufs never leave it.
// https://github.com/container-storage-interface/spec/blob/v1.13.0/spec.md
package csi
