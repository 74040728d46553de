package backend

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/scanner"
)

// placeholders are the names that a tag value may use, and the parameters of
// Kubernetes' sidecars that fill them (--extra-create-metadata).
var placeholders = map[string]string{
	"PVCName": "csi.storage.k8s.io/pvc/name", "PVCNamespace": "csi.storage.k8s.io/pvc/namespace", "PVName": "csi.storage.k8s.io/pv/name",
	"VolumeSnapshotName":        "csi.storage.k8s.io/volumesnapshot/name",
	"VolumeSnapshotNamespace":   "csi.storage.k8s.io/volumesnapshot/namespace",
	"VolumeSnapshotContentName": "csi.storage.k8s.io/volumesnapshotcontent/name",
}

// Expand fills the placeholders of a tag value: {{ .PVCName }}, with the functions
// of the EBS CSI driver behind pipes: field, substring, toUpper, toLower, contains.
// It is not text/template, whose reflection would link every method of the SDK.
func (v Values) Expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		action, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", fmt.Errorf("placeholder %q is not closed with }}", "{{"+rest)
		}
		value, err := evaluate(action, v)
		if err != nil {
			return "", fmt.Errorf("placeholder {{%s}}: %w", action, err)
		}
		out.WriteString(value)
		text = after
	}
}

// evaluate computes a pipeline: an operand or a call, each result the last argument
// of the next call.
func evaluate(action string, values Values) (string, error) {
	tokens, err := tokenize(action)
	if err != nil {
		return "", err
	}
	result, piped := "", false
	for len(tokens) > 0 {
		end := slices.Index(tokens, "|")
		stage := tokens
		if end >= 0 {
			stage, tokens = tokens[:end], tokens[end+1:]
			if len(tokens) == 0 {
				return "", fmt.Errorf("nothing follows the last |")
			}
		} else {
			tokens = nil
		}
		args := slices.Clone(stage)
		if piped {
			args = append(args, strconv.Quote(result))
		}
		if result, err = stageValue(args, piped, values); err != nil {
			return "", err
		}
		piped = true
	}
	if !piped {
		return "", fmt.Errorf("it is empty")
	}
	return result, nil
}

// tokenize splits an action into names, strings, numbers and pipes.
func tokenize(action string) ([]string, error) {
	var s scanner.Scanner
	s.Init(strings.NewReader(action))
	s.Mode = scanner.ScanIdents | scanner.ScanInts | scanner.ScanStrings | scanner.ScanRawStrings
	var bad error
	s.Error = func(_ *scanner.Scanner, msg string) { bad = fmt.Errorf("%s", msg) }
	var tokens []string
	for t := s.Scan(); t != scanner.EOF; t = s.Scan() {
		switch {
		case t == '.':
			if s.Scan() != scanner.Ident {
				return nil, fmt.Errorf("a name must follow the dot")
			}
			tokens = append(tokens, "."+s.TokenText())
		case t == '|' || t < 0:
			tokens = append(tokens, s.TokenText())
		default:
			return nil, fmt.Errorf("%q is not understood", s.TokenText())
		}
	}
	return tokens, bad
}

// stageValue computes one stage; args hold the function's name first, if it is a call.
func stageValue(args []string, piped bool, values Values) (string, error) {
	if len(args) == 0 {
		return "", fmt.Errorf("a stage is empty")
	}
	if arity, known := functions[args[0]]; known {
		if len(args)-1 != arity {
			return "", fmt.Errorf("%s takes %d arguments, not %d", args[0], arity, len(args)-1)
		}
		operands := make([]string, arity)
		for i := range operands {
			var err error
			if operands[i], err = operand(args[i+1], values); err != nil {
				return "", err
			}
		}
		return call(args[0], operands)
	}
	if len(args) > 1 || piped {
		return "", fmt.Errorf("%q is no function; there are contains, field, substring, toLower, toUpper", args[0])
	}
	return operand(args[0], values)
}

// operand is the value of a placeholder, a string or a number.
func operand(token string, values Values) (string, error) {
	if name, ok := strings.CutPrefix(token, "."); ok {
		key, known := placeholders[name]
		switch {
		case !known:
			return "", fmt.Errorf("there is no .%s", name)
		case values[key] == "":
			return "", fmt.Errorf(".%s is not known here; start the sidecar with --extra-create-metadata", name)
		}
		return values[key], nil
	}
	if text, err := strconv.Unquote(token); err == nil {
		return text, nil
	}
	if _, err := strconv.Atoi(token); err != nil {
		return "", fmt.Errorf("%q is no placeholder, text or number", token)
	}
	return token, nil
}

// functions and the number of their arguments.
var functions = map[string]int{"field": 3, "substring": 3, "contains": 2, "toUpper": 1, "toLower": 1}

func call(name string, args []string) (string, error) {
	switch name {
	case "toUpper":
		return strings.ToUpper(args[0]), nil
	case "toLower":
		return strings.ToLower(args[0]), nil
	case "contains":
		return strconv.FormatBool(strings.Contains(args[1], args[0])), nil
	case "field":
		parts := strings.Split(args[2], args[0])
		i, err := strconv.Atoi(args[1])
		if err != nil || i < 0 || i >= len(parts) {
			return "", fmt.Errorf("%q has no field %s between %q", args[2], args[1], args[0])
		}
		return parts[i], nil
	default: // substring
		from, err1 := strconv.Atoi(args[0])
		to, err2 := strconv.Atoi(args[1])
		if err1 != nil || err2 != nil || from < 0 || to < from || to > len(args[2]) {
			return "", fmt.Errorf("%q has no part from %s to %s", args[2], args[0], args[1])
		}
		return args[2][from:to], nil
	}
}
