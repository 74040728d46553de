package main

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
)

// directory is a claim of a directory that the node makes, as the controller would tell of it: the handle ends in a digest
// of all that was asked for.
func (w *world) directory(n *node, path, name string) claim {
	c := w.root(n)
	c.context = owner("1000", "2000", "2770")
	maps.Copy(c.context, map[string]string{"diskbridge.io/cluster": "guest", "diskbridge.io/pv-name": name})
	asked := []string{"directory", "guest", name, path, "delete", "1000", "2000", "2770"}
	sum := sha256.Sum256([]byte(strings.Join(asked, "\x00")))
	c.handle = fsA + ":" + path + "#delete." + hex.EncodeToString(sum[:])[:16]
	return c
}
