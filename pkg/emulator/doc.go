// Package emulator is an AWS of our own: EC2, KMS, STS and instance metadata over HTTP with AWS's wire protocols and behaviour,
// in this process or its own; it shares no code with the driver that it is there to test.
package emulator
