// Package sandbox runs the emulator and the driver as child processes and sees what they leave on this host.
// It knows their command lines and CSI; it must not know what is behind them.
package sandbox
