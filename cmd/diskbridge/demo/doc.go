// Package demo tells the life of EBS and EFS volumes as it happens, over CSI alone, and proves that nothing is left of them.
// It knows what a CSI client knows; it must not know the driver's inside nor AWS.
package demo
