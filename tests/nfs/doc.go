// Command nfs runs the node half on real NFSv4.1 mounts of a real server, both in a kernel of their own: User Mode Linux.
// It knows how to make such a machine from this one's packages, and must not know what is tested in it: that is
// tests/nfs/guest.
package main
