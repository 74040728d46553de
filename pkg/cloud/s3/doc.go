// Package s3 is a narrow client of S3, at AWS or elsewhere: plain structs in and out, errors as faults. It knows buckets and
// objects; it must not know volumes, nor who asks.
package s3
