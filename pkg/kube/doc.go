// Package kube asks and tells Kubernetes' API what only it knows: the cluster's identity, the Node that a plugin runs on, the
// startup taint, events on PersistentVolumes and their users, evictions of those. It must not know disks, AWS or CSI calls, and
// uses no clientset and no informer: those cost the driver more memory than all the rest of it.
package kube
