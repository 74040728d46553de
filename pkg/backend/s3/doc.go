// Package s3 is the backend for S3, at AWS or on another server: a bucket for each volume, or a prefix in a bucket that is given.
// It knows S3 only through the plain values of pkg/cloud/s3 and nothing of CSI, BOSH or Kubernetes, nor of how a bucket is mounted.
package s3
