package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
)

// boot makes a machine of a kernel, with folders for disks and the target that disks are attached through.
func boot() error {
	if err := inside.Boot(); err != nil {
		return err
	}
	if err := inside.Mount("tmpfs", "/disks"); err != nil {
		return err
	}
	if err := unix.Mount("configfs", "/sys/kernel/config", "configfs", 0, ""); err != nil {
		return fmt.Errorf("mount configfs: %w", err)
	}
	return openPort()
}
