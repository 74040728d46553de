package cpi

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Arguments are read one by one; the first that is wrong is c.wrong, and what is read then means nothing. Errors name the
// method, the place and the name of the argument, and never quote a value.

func (c *call) fail(err error) {
	if c.wrong == nil {
		c.wrong = err
	}
}

func (c *call) want(i int, name, what string) {
	c.fail(errorf(CPIError, "%s: argument %d (%s) must be %s", *c.Method, i+1, name, what))
}

// text reads an argument that is a non-empty string.
func (c *call) text(i int, name string) string {
	s, ok := c.string(i)
	if !ok || s == "" {
		c.want(i, name, "a string that is not empty")
	}
	return s
}

// disk reads the CID of a disk. No Director has made a volume of another kind.
func (c *call) disk(i int) string {
	return c.diskUnless(i, func(volume.Handle, string) bool { return false })
}

// foreignDisk reads the CID of a disk that need not exist: also one with slashes, as other CPIs have, which only looks like
// a bucket's.
func (c *call) foreignDisk(i int) string {
	return c.diskUnless(i, func(h volume.Handle, cid string) bool { return h.String() != cid })
}

func (c *call) diskUnless(i int, foreign func(h volume.Handle, cid string) bool) string {
	cid := c.text(i, "disk_cid")
	if h, err := volume.ParseHandle(cid); err == nil && h.Kind != volume.EBS && !foreign(h, cid) {
		c.fail(errorf(NotSupported, "%s: disk_cid %s is of the kind %s, and BOSH's disks are EBS volumes (vol-…)", *c.Method, cid, h.Kind))
	}
	return cid
}

// optionalText reads an argument that is a string or null.
func (c *call) optionalText(i int, name string) string {
	s, ok := c.string(i)
	if !ok {
		c.want(i, name, "a string or null")
	}
	return s
}

// string reads a string; null is an empty one.
func (c *call) string(i int) (string, bool) {
	var s string
	return s, json.Unmarshal(c.Arguments[i], &s) == nil
}

// maxMiB is far above any disk; more would overflow bytes.
const maxMiB = int64(math.MaxInt64 >> 20)

// bytes reads a size in MiB, a whole number, and returns it in bytes.
func (c *call) bytes(i int, name string) int64 {
	n, err := whole(c.Arguments[i])
	if err != nil || n < 1 || n > maxMiB {
		c.want(i, name, "a whole number of MiB, at least 1")
		return 0
	}
	return n << 20
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
func (c *call) object(i int, name string) object {
	var o object
	if json.Unmarshal(c.Arguments[i], &o) != nil {
		c.want(i, name, "an object")
	}
	return o
}

// scalars reads an object of strings; numbers and truths become text, null is left out.
func (c *call) scalars(i int, name string) map[string]string {
	out, err := texts(c.object(i, name))
	if err != nil {
		c.want(i, name, "an object of strings: "+err.Error())
	}
	return out
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
