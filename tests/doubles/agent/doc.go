// Package agent is a double of bosh-agent v2.874.0 where it deals with disks (platform/linux_platform.go, platform/disk),
// with its real tools on a device tree, and with what it destroys. It knows disks; nothing of ours.
package agent
