// Package kubetest is a small Kubernetes API server on the wire for tests: objects by path, lists in pages, JSON patches, events, evictions.
// It must not know what a test wants from them.
package kubetest
