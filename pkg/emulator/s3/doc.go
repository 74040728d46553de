// Package s3 emulates S3: an S3 server that others wrote keeps the objects and judges their requests, and this package, in front of
// it, answers what that server lacks. It knows buckets and their owners, and must not know what a volume is.
package s3
