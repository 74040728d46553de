package backend

import (
	"strings"
	"testing"
)

var sidecar = Values{
	"csi.storage.k8s.io/pvc/namespace": "ns-prod-abcdef", "csi.storage.k8s.io/pvc/name": "ebs-claim", "csi.storage.k8s.io/pv/name": "pv-1",
}

// TestExpand_Template has the examples of the EBS CSI driver's tagging page, and more.
func TestExpand_Template(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                                 "plain",
		"":                                      "",
		"{{ .PVCNamespace }}":                   "ns-prod-abcdef",
		"a {{.PVCName}} b {{ .PVName }} c":      "a ebs-claim b pv-1 c",
		`{{ .PVCNamespace | contains "prod" }}`: "true",
		`{{ .PVCNamespace | field "-" 2 | toUpper }}`: "ABCDEF",
		`{{ field "-" 1 .PVCNamespace }}`:             "prod",
		`{{ .PVCName | substring 0 3 }}`:              "ebs",
		`{{ "Text" | toLower }}`:                      "text",
		"{{ `raw|}` | toUpper }}":                     "RAW|}",
		"{ } }} {":                                    "{ } }} {",
	} {
		if got, err := sidecar.Expand(text); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestExpand_TheErrorSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"{{ .PVCName":                          "not closed",
		"{{ }}":                                "empty",
		"{{ .PVCName | }}":                     "nothing follows",
		"{{ .Nothing }}":                       "there is no .Nothing",
		"{{ .VolumeSnapshotName }}":            "--extra-create-metadata",
		"{{ html .PVCName }}":                  `"html" is no function`,
		`{{ .PVCName | field "-" 9 }}`:         "has no field 9",
		`{{ .PVCName | substring 2 99 }}`:      "has no part",
		`{{ .PVCName | field "-" }}`:           "takes 3 arguments",
		`{{ if .PVCName }}`:                    `"if" is no function`,
		`{{ .PVCName + 1 }}`:                   "not understood",
		`{{ "unclosed }}`:                      "not terminated",
		`{{ . }}`:                              "name must follow",
		`{{ .PVCName | "text" }}`:              "is no function",
		`{{ | toUpper }}`:                      "stage is empty",
		`{{ .PVCName | substring one 2 }}`:     `"one" is no placeholder`,
		`{{ substring 99999999999999999999 }}`: "takes 3 arguments",
	} {
		if got, err := sidecar.Expand(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %q, %v; want an error with %q", text, got, err, want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(`{{ .PVCNamespace | field "-" 2 | toUpper }}`)
	f.Add("{{ `x` | substring 0 1 }}{{")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := sidecar.Expand(text)
		if err == nil && !strings.Contains(text, "{{") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
