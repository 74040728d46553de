// Package clock is the emulator's time: it runs, runs faster, or stands still and is advanced; it knows nothing of what waits on it.
package clock
