// Package faults decides which calls go wrong and how, and holds calls until they are let go;
// it knows operations only by name and does nothing to an answer itself.
package faults
