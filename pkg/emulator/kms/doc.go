// Package kms keeps keys whose states matter to encrypted volumes; it encrypts nothing.
package kms
