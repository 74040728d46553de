package ebs

import (
	"testing"
	"time"
)

func TestTokenMemory_OneVolumeBurnsOneToken(t *testing.T) {
	m := newTokenMemory(time.Now())
	for range 3 { // EC2 may show a deleted volume for a while, and it is then deleted again
		m.deletedVolume("v", "vol-1", time.Now())
	}
	if g := m.generation("v"); g != 1 {
		t.Errorf("generation %d after one volume", g)
	}
	m.deletedVolume("v", "vol-2", time.Now())
	if g := m.generation("v"); g != 2 {
		t.Errorf("generation %d after two volumes", g)
	}
}
