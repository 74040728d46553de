// Package replay kills the driver at every AWS call of every operation and repeats the request: the answer must be the
// same, and what it stands for must be there once. It knows CSI, the emulator and what each kind of disk shows in it.
package replay
