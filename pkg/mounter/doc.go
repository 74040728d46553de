// Package mounter is the process that outlives the node plugin: what a mount needs as long as it is mounted, the TLS tunnels of
// NFS mounts and the programs that mount buckets, runs in it. It knows sockets and TLS; it must not know mounts or a cloud.
//
// The node plugin asks for things over HTTP on a Unix socket that only root may use. What it asked for is noted in a
// folder on tmpfs before it is answered, so that the next mounter has it all again after a crash.
package mounter
