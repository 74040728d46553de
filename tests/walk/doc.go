// Package walk sends random requests to two driver processes at once, on an AWS that fails, lags and throttles, and
// compares every answer with a model of what may be true. It knows CSI and the emulator; it must not know the driver.
package walk
