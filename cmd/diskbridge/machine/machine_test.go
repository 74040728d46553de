package machine

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	for name, tc := range map[string]struct {
		report, want string
		passed       int
	}{
		"all passed":        {"PASS one (1.0s)\r\nPASS two (2.0s)\r\nEND\r\n", "", 2},
		"one failed":        {"PASS one (1.0s)\nFAIL two: broken\nEND\n", "1 scenarios failed", 1},
		"it broke off":      {"PASS one (1.0s)\n", "ends after 1 scenarios", 1},
		"nothing was asked": {"END\n", "", 0},
		"no machine":        {"", "ends after 0 scenarios", 0},
		"a strange line":    {"PASS one\npanic: oh\nEND\n", "1 scenarios failed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			passed, err := Follow(io.Discard, strings.NewReader(tc.report))
			if passed != tc.passed || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%d passed, error %v; want %d and %q", passed, err, tc.passed, tc.want)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	var out bytes.Buffer
	a := NewArchive(&out)
	if err := errors.Join(a.file("/a/b/c", []byte("hello")), a.file("/a/d", nil), a.device("/dev/console", 5, 1), a.End()); err != nil {
		t.Fatal(err)
	}
	if out.Len()%4 != 0 {
		t.Errorf("%d bytes are not whole words", out.Len())
	}
	var names []string
	for rest := out.Bytes(); len(rest) >= 110; {
		if string(rest[:6]) != "070701" {
			t.Fatalf("an entry begins with %q", rest[:6])
		}
		number := func(field int) int {
			n := 0
			for _, c := range rest[6+8*field : 14+8*field] {
				n = n<<4 | strings.IndexByte("0123456789abcdef", c)
			}
			return n
		}
		size, nameLength := number(6), number(11)
		names = append(names, string(rest[110:110+nameLength-1]))
		rest = rest[(110+nameLength+3)&^3:]
		if names[len(names)-1] == "a/b/c" && string(rest[:size]) != "hello" {
			t.Errorf("the file holds %q", rest[:size])
		}
		rest = rest[(size+3)&^3:]
	}
	if got, want := strings.Join(names, " "), "a a/b a/b/c a/d dev dev/console TRAILER!!!"; got != want {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func TestArchive_programsComeWithTheirLibraries(t *testing.T) {
	a := NewArchive(io.Discard)
	if err := a.program("mkfs.xfs"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/usr/sbin/mkfs.xfs", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"} {
		if !a.seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestDependencies(t *testing.T) {
	if _, err := dependencies([]byte("no module")); err == nil {
		t.Error("what is no module has dependencies")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dependencies(program); err == nil || !strings.Contains(err.Error(), ".modinfo") {
		t.Errorf("a program that is no module: %v", err)
	}
}
