// Command guest is the first process of a User Mode Linux: it plays EFS with NFS servers of its own and the kubelet of
// two nodes. It must not know how the plugin works.
package main
