package bosh

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/doubles/cli"
	"github.com/diskbridge/diskbridge/tests/doubles/director"
)

// answering is a CPI that answers one thing to info and another to everything else, and keeps what it got.
func answering(t *testing.T, info, other string) (exec, dir string) {
	t.Helper()
	dir = t.TempDir()
	exec = filepath.Join(dir, "cpi")
	for name, text := range map[string]string{
		"info": info, "other": other,
		"cpi": "#!/bin/sh\ncd " + dir + "\nrequest=$(cat)\nenv >environment\ncase $request in\n*'\"method\":\"info\"'*) echo \"$request\" >asked-info; . ./info;;\n*) echo \"$request\" >asked; . ./other;;\nesac\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return exec, dir
}

const goodInfo = `echo '{"result":{"api_version":3,"stemcell_formats":[]},"error":null,"log":""}'`

// TestDoubles_AreStrict: what the Director and the CLI refuse, their doubles refuse; else they would prove nothing.
func TestDoubles_AreStrict(t *testing.T) {
	for name, tc := range map[string]struct {
		info, answer  string // shell commands
		director, cli string // part of the error; empty: it is taken
	}{
		"a good answer":                    {goodInfo, `echo '{"result":"hint","error":null,"log":""}'`, "", ""},
		"more keys":                        {goodInfo, `echo '{"result":"hint","error":null,"log":"","more":1}'`, "", ""},
		"a status beside it":               {goodInfo, `echo '{"result":"hint","error":null,"log":""}'; exit 3`, "", "exit status 3"},
		"no log":                           {goodInfo, `echo '{"result":"hint","error":null}'`, "no log", ""},
		"a log that is null":               {goodInfo, `echo '{"result":"hint","error":null,"log":null}'`, "log is no string", ""},
		"an error without ok_to_retry":     {goodInfo, `echo '{"result":null,"error":{"type":"Bosh::Clouds::CloudError","message":"m"},"log":""}'`, "error is not complete", "CloudError: m"},
		"an error of nobody's":             {goodInfo, `echo '{"result":null,"error":{"type":"Unknown","message":"m","ok_to_retry":false},"log":""}'`, "UnknownError", "Unknown: m"},
		"an error that it knows":           {goodInfo, `echo '{"result":null,"error":{"type":"Bosh::Clouds::DiskNotFound","message":"m","ok_to_retry":false},"log":""}'`, "DiskNotFound: m", "DiskNotFound: m"},
		"something before it":              {goodInfo, `echo booting; echo '{"result":"hint","error":null,"log":""}'`, "InvalidResponse", "invalid character"},
		"nothing":                          {goodInfo, `:`, "InvalidResponse", "unexpected end"},
		"no hint":                          {goodInfo, `echo '{"result":null,"error":null,"log":""}'`, "No disk_hint", ""},
		"version 1":                        {`echo '{"result":{"api_version":1,"stemcell_formats":[]},"error":null,"log":""}'`, `echo '{"result":"hint","error":null,"log":""}'`, "refuses CPIs below version 2", ""},
		"stemcell formats of another kind": {`echo '{"result":{"api_version":2,"stemcell_formats":null},"error":null,"log":""}'`, `echo '{"result":"hint","error":null,"log":""}'`, "", "stemcell_formats is no array"},
	} {
		t.Run(name, func(t *testing.T) {
			exec, dir := answering(t, tc.info, tc.answer)
			_, err := (&director.Director{Exec: exec, UUID: "d", Home: dir}).Call(t.Context(), "attach_disk", "i-1", "vol-1")
			check(t, "the Director", err, tc.director)
			if library := os.Getenv(directorVariable); library != "" {
				_, real := (&director.Director{Exec: exec, UUID: "d", Home: dir, Library: library}).Call(t.Context(), "attach_disk", "i-1", "vol-1")
				if (real == nil) != (err == nil) || director.TypeOf(err) != "" && director.TypeOf(real) != director.TypeOf(err) {
					t.Errorf("the Director's library says %v, the simulated one %v", real, err)
				}
			}
			_, err = (&cli.CLI{Exec: exec, UUID: "c"}).Call(t.Context(), "attach_disk", "i-1", "vol-1")
			check(t, "the CLI", err, tc.cli)
		})
	}
}

func check(t *testing.T, who string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", who, err, want)
	}
}

// TestDoubles_SendWhatTheRealOnesSend: environment, versions and context.
func TestDoubles_SendWhatTheRealOnesSend(t *testing.T) {
	t.Setenv("AWS_PROFILE", "stray")
	exec, dir := answering(t, goodInfo, `echo '{"result":"hint","error":null,"log":""}'`)
	read := func(name string) string { text, _ := os.ReadFile(filepath.Join(dir, name)); return string(text) }
	keys := func() (list []string) {
		for line := range strings.Lines(read("environment")) {
			if key, _, ok := strings.Cut(line, "="); ok && !slices.Contains([]string{"PWD", "OLDPWD", "_", "SHLVL"}, key) { // the shell's own
				list = append(list, key)
			}
		}
		slices.Sort(list)
		return list
	}
	d := &director.Director{Exec: exec, UUID: "d", Home: dir, Stemcell: 3, Properties: map[string]any{"region": "r"}}
	if _, err := d.Call(t.Context(), "attach_disk", "i-1", "vol-1"); err != nil {
		t.Fatal(err)
	}
	if got := keys(); !slices.Equal(got, []string{"HOME", "PATH", "TMPDIR"}) {
		t.Errorf("the Director's environment: %v", got)
	}
	if info := read("asked-info"); strings.HasPrefix(info, `{"api_version"`) || !strings.Contains(info, `"director_uuid":"d"`) || !strings.Contains(info, `"region":"r"`) {
		t.Errorf("the Director's info: %s", info)
	}
	if asked := read("asked"); !strings.Contains(asked, `{"api_version":3,"arguments":["i-1","vol-1"]`) || !strings.Contains(asked, `"request_id":"cpi-`) {
		t.Errorf("the Director's request: %s", asked)
	}
	if _, err := (&cli.CLI{Exec: exec, UUID: "c"}).Call(t.Context(), "attach_disk", "i-1", "vol-1"); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(keys(), "AWS_PROFILE") || !slices.Contains(keys(), "BOSH_JOBS_DIR") {
		t.Errorf("the CLI's environment: %v", keys())
	}
	if info, asked := read("asked-info"), read("asked"); !strings.Contains(info, `"api_version":1`) || !strings.Contains(asked, `"api_version":2`) {
		t.Errorf("the CLI's requests: %s%s", info, asked)
	}
}
