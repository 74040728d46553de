package ec2

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// plain reads XML in ASCII that consists of elements without attributes, each with either
// text or elements in it. What is otherwise makes it bad, and nothing that was read counts.
type plain struct {
	rest []byte
	bad  bool
}

// newPlain begins behind the root's start tag, which may name a namespace.
func newPlain(body []byte, root string) *plain {
	for _, c := range body {
		if c >= 0x80 || c < ' ' && c != '\n' && c != '\t' {
			return &plain{bad: true}
		}
	}
	rest, _ := bytes.CutPrefix(body, []byte(`<?xml version="1.0" encoding="UTF-8"?>`))
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\n"), []byte("<"+root))
	if space, named := bytes.CutPrefix(rest, []byte(` xmlns="`)); named {
		var name []byte
		name, rest, _ = bytes.Cut(space, []byte(`"`))
		ok = ok && !bytes.ContainsAny(name, "<&")
	}
	rest, ends := bytes.CutPrefix(rest, []byte(">"))
	return &plain{rest: rest, bad: !ok || !ends || bytes.Contains(rest, []byte("]]>"))}
}

// each calls fn for every element up to the end tag of name; fn must read the element to
// its end. Empty elements without an end tag are passed over: they say nothing.
func (p *plain) each(name string, fn func(child string)) {
	for !p.bad {
		p.rest = bytes.TrimLeft(p.rest, " \t\n")
		tag, ok := p.tag()
		switch {
		case !ok:
			p.bad = true
		case tag[0] == '/':
			p.bad = string(tag[1:]) != name
			return
		case tag[len(tag)-1] == '/':
			p.bad = !isName(tag[:len(tag)-1])
		case !isName(tag):
			p.bad = true
		default:
			fn(string(tag))
		}
	}
}

// tag reads what stands between the next < and >.
func (p *plain) tag() (tag []byte, ok bool) {
	if len(p.rest) == 0 || p.rest[0] != '<' {
		return nil, false
	}
	end := bytes.IndexByte(p.rest, '>')
	if end < 2 {
		return nil, false
	}
	tag, p.rest = p.rest[1:end], p.rest[end+1:]
	return tag, true
}

// isName is true for the names of EC2's elements: letters, then letters and digits.
func isName(tag []byte) bool {
	for i, c := range tag {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(tag) > 0
}

// skip reads an element that is of no interest.
func (p *plain) skip(name string) {
	if p.leaf() {
		p.text(name)
		return
	}
	p.each(name, p.skip)
}

// leaf reports whether text or nothing comes before the next tag's end.
func (p *plain) leaf() bool {
	at := bytes.IndexByte(p.rest, '<')
	return at >= 0 && at+1 < len(p.rest) && p.rest[at+1] == '/'
}

// text reads an element's text and its end tag.
func (p *plain) text(name string) string {
	at := bytes.IndexByte(p.rest, '<')
	if p.bad || at < 0 {
		p.bad = true
		return ""
	}
	raw := p.rest[:at]
	p.rest = p.rest[at:]
	tag, ok := p.tag()
	if !ok || tag[0] != '/' || string(tag[1:]) != name {
		p.bad = true
		return ""
	}
	if bytes.IndexByte(raw, '&') < 0 {
		return string(raw)
	}
	return p.unescape(string(raw))
}

// unescape replaces XML's own entities and numbers of characters.
func (p *plain) unescape(text string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "&")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		entity, rest, ok := strings.Cut(after, ";")
		r, known := map[string]rune{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "#34": '"', "#39": '\'', "#xA": '\n', "#x9": '\t', "#xD": '\r'}[entity]
		if !ok || !known {
			p.bad = true
			return ""
		}
		out.WriteRune(r)
		text = rest
	}
}

func (p *plain) pointer(name string) *string {
	text := p.text(name)
	return &text
}

func (p *plain) number(name string) *int32 {
	n, err := strconv.ParseInt(p.text(name), 10, 32)
	p.bad = p.bad || err != nil
	small := int32(n)
	return &small
}

func (p *plain) truth(name string) *bool {
	text := p.text(name)
	is := text == "true"
	p.bad = p.bad || !is && text != "false"
	return &is
}

func (p *plain) time(name string) *time.Time {
	at, err := time.Parse(time.RFC3339Nano, p.text(name))
	p.bad = p.bad || err != nil
	return &at
}
