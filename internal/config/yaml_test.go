package config

import (
	"strings"
	"testing"
	"unicode/utf16"
)

// utf16LE is a text as a Windows program saves it as "Unicode".
func utf16LE(s string) string {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return string(out)
}

// TestInvisible: what an editor does not show is named, with its line, whatever the file's encoding.
func TestInvisible(t *testing.T) {
	t.Parallel()
	const (
		entry = "proxies:\n  - address: a.local\n"
		tab   = "3: not valid YAML: the line is indented with a tab"
		space = "not valid YAML: the line has a character that only looks like a space (U+00A0); type a plain space in its place"
	)
	for _, c := range []struct{ name, text, want string }{
		{"UTF-16", utf16LE(entry), ""},
		{"tab in UTF-16", utf16LE(entry + "\tname: x\n"), tab},
		{"key in UTF-16", utf16LE(entry + "    nam: x\n"), `3: proxies[0]: unknown key "nam"; did you mean "name"?`},
		{"UTF-16 without mark", utf16LE(entry)[2:], "1: not valid YAML: the file holds characters that do not print; remove them, or save it as UTF-8"},
		{"byte order mark", "\ufeff" + entry, ""},
		{"CRLF", strings.ReplaceAll(entry, "\n", "\r\n"), ""},
		{"tab after CRLF", strings.ReplaceAll(entry+"\tname: x\n", "\n", "\r\n"), tab},
		{"tabs where they may stand", "proxies:\t\n  - address:\ta.local\t# a\tb\ndevices: [\n\t\n]\n", ""},
		{"no-break space before the dash", "proxies:\n\u00a0\u00a0- address: a.local\n", "2: " + space},
		{"behind the dash", "proxies:\n  -\u00a0address: a.local\n", "2: " + space},
		{"before a key", entry + "  \u00a0\u00a0name: x\n", "3: " + space},
		{"behind the colon", "proxies:\n  - address:\u00a0a.local\n", "2: " + space},
		{"a dash for a hyphen", "proxies:\n  \u2013 address: a.local\n    name: x\n", "2: not valid YAML: the line has a character that only looks like a hyphen (U+2013); type a plain hyphen in its place"},
		{"in a text", "adapter_alias: a\u00a0b # c\u00a0d\n" + entry, ""},
		{"a tab beyond what is searched", "proxies:\n" + strings.Repeat("  - address: a.local\n", maxSoughtLines) + "  - address: b.local\n\tname: x\n",
			"503: not valid YAML: the line is indented with a tab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if _, err := testLoader(nil, nil).parse([]byte(c.text)); err != nil {
				got = strings.ReplaceAll(err.Error(), "/etc/b/b.yaml:", "")
			}
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
