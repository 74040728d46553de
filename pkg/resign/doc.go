// Package resign lets a program that knows nothing but lasting keys, such as s3fs, use credentials that end: a proxy on the
// loopback interface takes its requests to one bucket, signed with throwaway keys, and signs them anew. It knows S3's signatures
// and what a request asks for; it must not know volumes, mounts or where credentials come from.
package resign
