package ebs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const keyLayout = "layout"

// diskParameters declare what is to stand on a new disk.
func diskParameters() backend.Parameters {
	ps := backend.Parameters{{
		Key: keyLayout, Type: backend.String, OneOf: []string{string(volume.LayoutRaw), string(volume.LayoutBosh)},
		Help: "What stands on the disk: raw (the default), or bosh: one GPT partition with ext4 or xfs, which BOSH can use too.",
	}}
	for _, o := range volume.FormatOptions() {
		kind := backend.String // "4k" is a number too
		if o.Flag {
			kind = backend.Bool
		}
		ps = append(ps, backend.Parameter{Key: o.Key, Type: kind, Help: o.Help})
	}
	return ps
}

// standing checks what is to stand on the disk and adds it to what the node is told.
func standing(req volume.CreateRequest, values backend.Values, context map[string]string) error {
	layout := volume.Layout(values[keyLayout])
	for _, c := range req.Capabilities {
		if err := layout.Supports(c); err != nil {
			return err
		}
	}
	if layout != "" {
		context[volume.ContextLayout] = string(layout)
	}
	format, err := volume.FormatContext(req.Capabilities, values)
	maps.Copy(context, format)
	return err
}

// tagFormat notes how the node is to format a new volume, so that a repeated request with other options is found out:
// nobody but the node sees them later. A copy is never formatted, nor is a raw device.
func tagFormat(req volume.CreateRequest, context, tags map[string]string) {
	raw := !slices.ContainsFunc(req.Capabilities, func(c volume.Capability) bool { return !c.Block })
	if req.Source != (volume.Source{}) || raw {
		return
	}
	var given []string
	for _, o := range volume.FormatOptions() {
		if value := context[strings.ToLower(o.Key)]; value != "" {
			given = append(given, o.Key+"="+value)
		}
	}
	tags[TagFormat] = cmp.Or(strings.Join(given, " "), "default")
}

// layoutTag is the layout of a new volume whose source, if it has one, has the inherited one. A copy of a BOSH disk is
// one too; of others the node finds out what they carry.
func layoutTag(req volume.CreateRequest, values backend.Values, inherited string, context map[string]string) (string, error) {
	asked := values[keyLayout]
	switch {
	case asked != "" && req.Source == (volume.Source{}):
		return asked, nil
	case asked != "" && asked != inherited && inherited != layoutUnknown && inherited != "":
		return "", fmt.Errorf("parameter %s=%s: the source has layout %s, and its copies keep it; leave the parameter out", keyLayout, asked, inherited)
	case asked == "" && inherited == string(volume.LayoutBosh):
		context[volume.ContextLayout] = inherited
	}
	return inherited, nil
}
