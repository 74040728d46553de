// Package imds is the instance metadata service, version 2, of one instance; it knows what its source tells and nothing else.
package imds
