// Package efs is the narrow client for Amazon EFS: plain values in and out, shared reads, and what each error means
// for the caller. It knows no backend; SDK types never leave it.
package efs
