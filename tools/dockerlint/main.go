// Command dockerlint reads Dockerfiles as BuildKit does and reports what its
// linter would: it needs no container engine. It must not know what is built.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: dockerlint DOCKERFILE...")
		os.Exit(2)
	}
	failed := false
	for _, path := range os.Args[1:] {
		findings, err := lint(path)
		if err != nil {
			findings = append(findings, err.Error())
		}
		for _, finding := range findings {
			fmt.Fprintf(os.Stderr, "%s: %s\n", path, finding)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// lint returns what BuildKit's parser and its linter warn about; the error is a file that BuildKit would refuse.
func lint(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, w := range file.Warnings {
		findings = append(findings, w.Short)
	}
	rules := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		line := 0
		if len(at) > 0 {
			line = at[0].Start.Line
		}
		findings = append(findings, fmt.Sprintf("line %d: %s: %s", line, rule, message))
	}})
	_, _, err = instructions.Parse(file.AST, rules)
	return findings, err
}
