package objectmount

import (
	"os"
	"path/filepath"
	"testing"
)

// TestShorten has the programs of a full node complain at one time: their logs leave room for notes.
func TestShorten(t *testing.T) {
	const mounts = 500
	if maxLog*mounts > folderSize*3/4 {
		t.Errorf("%d logs of %d bytes leave no room in %d", mounts, maxLog, folderSize)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, logName)
	for size, want := range map[int]int64{maxLog: maxLog, maxLog + 1: 0} {
		if err := os.WriteFile(log, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		shorten(dir)
		if st, err := os.Stat(log); err != nil || st.Size() != want {
			t.Errorf("of %d bytes %v are left (%v)", size, st.Size(), err)
		}
	}
}
