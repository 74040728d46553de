// Package limits knows how many EBS volumes an instance type takes, and which disks of a node are a driver's own. It must
// not know how that is found out: no cloud, no kernel, no CSI.
//
// What is counted. Kubernetes compares the limit of a node (CSINode, allocatable.count) with the volumes of this driver
// that pods on the node use, and knows nothing of other attachments. So the limit is what the instance takes, less all
// that is not this driver's: network interfaces beyond the first (where the limit is shared), the root volume, and other
// volumes, be they from the image, attached by hand, or another driver's.
//
// Whose a disk is. A volume is the driver's own if this process staged it, or if it is mounted where only this driver
// mounts (see [Owner]); that survives a restart of the plugin, since mounts do. Every other EBS disk is foreign, also one
// that nobody uses: nothing on the node tells a volume that another driver has just attached from one of ours, and
// a limit that is too high sends a pod to a node where its volume cannot be attached. The price is that a volume of ours
// between attach and stage counts twice for some seconds: the node may look full, and is looked at again with the next
// NodeGetInfo (CSIDriver, nodeAllocatableUpdatePeriodSeconds). Nothing that runs is disturbed by that.
package limits
