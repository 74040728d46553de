// Package cluster runs a real Kubernetes with an emulated AWS in namespaces of its own; it knows the programs and their
// settings, and nothing of what is installed in the cluster or tested on it.
package cluster
