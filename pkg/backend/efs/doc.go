// Package efs is the backend for Amazon EFS: a file system, a directory or an access point for each volume, and the
// mount targets that nodes need. It knows EFS and EC2 only through the plain values of pkg/cloud and nothing of CSI,
// BOSH or Kubernetes. It mounts nothing: directories are made by the node and removed by the janitor.
package efs
