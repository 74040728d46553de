// Command nvme runs the node half in a virtual machine, on NVMe disks that are EBS's to the letter: model, serial number,
// hot attach, hot detach and growth. It knows how to make such a machine from this one's packages, and must not know what
// is tested in it: that is tests/nvme/guest.
package main
