// Package stories tells what users do with the driver in a real cluster, and proves each story's end. It knows manifests,
// kubectl and what the emulated AWS has; nothing of the driver's insides.
package stories

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
	"github.com/diskbridge/diskbridge/tests/e2e/install"
)

// here is the cluster that all stories share; TestMain sets it.
var here *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Within(func(paths cluster.Paths) int {
		ctx := context.Background()
		c, err := cluster.Start(ctx, paths)
		if err == nil {
			here = c
			err = install.All(ctx, c)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "stories:", err)
			if c != nil {
				c.Dump(ctx)
			}
			return 1
		}
		code := m.Run()
		if err := nothingLeft(ctx, ""); err != nil {
			fmt.Fprintln(os.Stderr, "stories: left in AWS after all:", err)
			code = 1
		}
		if code != 0 {
			c.Dump(ctx)
		}
		return code
	}))
}
