// Command cgroups runs the mounter under control groups of version 2, in a kernel of their own: User Mode Linux. It knows how
// to make such a machine from this one's packages, and must not know what is tested in it: that is tests/cgroups/guest.
package main
