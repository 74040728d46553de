package cpi

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Arguments are read one by one; errors name the method, the place and the name of the argument, and never quote a value.

func (c *call) wrong(i int, name, want string) error {
	return errorf(CPIError, "%s: argument %d (%s) must be %s", *c.Method, i+1, name, want)
}

// text reads an argument that is a non-empty string.
func (c *call) text(i int, name string) (string, error) {
	var s *string
	if err := json.Unmarshal(c.Arguments[i], &s); err != nil || s == nil || *s == "" || !utf8.ValidString(*s) {
		return "", c.wrong(i, name, "a string that is not empty")
	}
	return *s, nil
}

// optionalText reads an argument that is a string or null.
func (c *call) optionalText(i int, name string) (string, error) {
	var s *string
	if err := json.Unmarshal(c.Arguments[i], &s); err != nil {
		return "", c.wrong(i, name, "a string or null")
	}
	if s == nil {
		return "", nil
	}
	return *s, nil
}

// maxMiB is far above any disk; more would overflow bytes.
const maxMiB = int64(math.MaxInt64 >> 20)

// bytes reads a size in MiB, a whole number, and returns it in bytes.
func (c *call) bytes(i int, name string) (int64, error) {
	n, err := whole(c.Arguments[i])
	if err != nil || n < 1 || n > maxMiB {
		return 0, c.wrong(i, name, "a whole number of MiB, at least 1")
	}
	return n << 20, nil
}

// whole reads a JSON number that is whole, however it is written.
func whole(raw json.RawMessage) (int64, error) {
	text := strings.TrimSpace(string(raw))
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, fmt.Errorf("no whole number")
	}
	return int64(f), nil
}

// object reads an argument that is an object; null is an empty one.
func (c *call) object(i int, name string) (object, error) {
	var o object
	if err := json.Unmarshal(c.Arguments[i], &o); err != nil {
		return nil, c.wrong(i, name, "an object")
	}
	if o == nil {
		o = object{}
	}
	return o, nil
}

// scalars reads an object of strings; numbers and truths become text, null is left out.
func (c *call) scalars(i int, name string) (map[string]string, error) {
	o, err := c.object(i, name)
	if err != nil {
		return nil, err
	}
	out, err := texts(o)
	if err != nil {
		return nil, c.wrong(i, name, "an object of strings: "+err.Error())
	}
	return out, nil
}

// texts turns scalar values into text and leaves null out.
func texts(o object) (map[string]string, error) {
	out := map[string]string{}
	for key, raw := range o {
		text, isNull, err := scalar(raw)
		if err != nil {
			return nil, fmt.Errorf("%.64q is neither text nor number", key)
		}
		if !isNull {
			out[key] = text
		}
	}
	return out, nil
}

// scalar is the text of a string, a number or a truth.
func scalar(raw json.RawMessage) (text string, isNull bool, err error) {
	trimmed := strings.TrimSpace(string(raw))
	switch {
	case trimmed == "null":
		return "", true, nil
	case strings.HasPrefix(trimmed, `"`):
		err = json.Unmarshal(raw, &text)
		return text, false, err
	case trimmed == "" || strings.HasPrefix(trimmed, "{"), strings.HasPrefix(trimmed, "["):
		return "", false, fmt.Errorf("no scalar")
	}
	if n, err := whole(raw); err == nil {
		return strconv.FormatInt(n, 10), false, nil
	}
	return trimmed, false, nil
}
