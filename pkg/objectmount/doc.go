// Package objectmount keeps buckets mounted on this machine: it starts a program such as s3fs for each, believes that it is
// mounted only with proof, mounts again what was lost, and takes nothing away that is still being written. It knows
// processes, mounts and FUSE; it must not know CSI, Kubernetes, or where credentials come from.
package objectmount
