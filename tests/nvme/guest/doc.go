// Command guest is the first process of a virtual machine: it plays EC2 with NVMe over TCP on the machine's own loopback
// interface and the kubelet on the node plugin's socket. It must not know how the plugin works.
package main
