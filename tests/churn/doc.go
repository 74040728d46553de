// Package churn takes volumes from their creation to their deletion again and again, with real file systems, while the
// processes of the driver are killed at random, and compares every byte that comes back. It plays provisioner, attacher and
// kubelet: it knows CSI, the emulator and the kernel's mounts; it must not know the driver.
package churn
