package machine

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// Follow shows a report as it comes, and counts: a line for each scenario, "PASS name" or anything else, and "END" at
// last. A report without an end is an error.
func Follow(out io.Writer, report io.Reader) (passed int, err error) {
	failed, ended := 0, false
	lines := bufio.NewScanner(report)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "PASS "):
			passed++
		case line == "END":
			ended = true
			continue
		case line != "":
			failed++
		}
		fmt.Fprintf(out, "  %s\n", line)
	}
	switch {
	case lines.Err() != nil:
		return passed, lines.Err()
	case failed > 0:
		return passed, fmt.Errorf("%d scenarios failed", failed)
	case !ended:
		return passed, fmt.Errorf("the machine's report ends after %d scenarios", passed)
	}
	return passed, nil
}

// ConsoleEnd is an error that tells the last lines of a machine's console, which is a file.
func ConsoleEnd(console string) error {
	text, err := os.ReadFile(console)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("the end of the machine's console:\n%s", strings.Join(lines[max(0, len(lines)-200):], "\n"))
}
