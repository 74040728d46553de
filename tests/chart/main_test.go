//go:build chart

package chart

import (
	"os"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
