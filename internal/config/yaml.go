package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// errDocuments: the file continues after a line "---" or "...".
var errDocuments = errors.New("more than one document")

// faults translates messages of the YAML library into the mistake that its user made.
var faults = []struct{ says, what, remedy string }{
	{"mapping values are not allowed", `a ": " stands where no key can be`, `quote the value if it holds ": "`},
	{"block sequence entries are not allowed", `a "- " stands where no entry can be`,
		`put each entry on a line of its own below its key, all "- " in one column`},
	{"could not find expected ':'", `the key has no ": " behind it`, `write KEY: VALUE, with a space after the colon`},
	{"found unexpected end of stream", "a quote is not closed", `end the value with the quote that it began with`},
	{"did not find expected ',' or", "a [ or { is not closed, or a comma is missing",
		"close it, put commas between the entries, and quote a value that holds one of , [ ] { }"},
	{"found character that cannot start any token", "a value begins with a character that YAML keeps for itself", "quote the value"},
	{"did not find expected alphabetic or numeric character", "a value begins with & or *", "quote the value"},
	{"unknown anchor", "a value begins with *", "quote the value"},
	{"found unknown escape character", `\ and the letter behind it mean nothing in double quotes`, `use single quotes, or write \\ for \`},
	{"found unknown directive name", "the line begins with %", "quote the value"},
	{"found unexpected non-alphabetical character", "the line begins with %", "quote the value"},
	{"did not find expected whitespace", "a value begins with a character that YAML keeps for itself", "quote the value"},
	{"invalid leading UTF-8 octet", "the file is not UTF-8", "save it as UTF-8"},
	{"invalid trailing UTF-8 octet", "the file is not UTF-8", "save it as UTF-8"},
	{"incomplete UTF-8 octet sequence", "the file is not UTF-8", "save it as UTF-8"},
	{"control characters are not allowed", "the file holds characters that do not print", "remove them, or save it as UTF-8"},
	{"did not find expected <document start>", "the line belongs to nothing above it", "write KEY: VALUE"},
	{errDocuments.Error(), "the file holds more than one document", `remove the line "---" or "..." and what belongs to the other one`},
}

// indentFaults are the messages of the library about a line whose indentation does not fit the lines above it.
var indentFaults = []string{"did not find expected '-' indicator", "did not find expected key", "mapping values are not allowed"}

// explain finds the line in which data stops being YAML, 0 if it is not known, and says what is wrong there and what to
// do.
func explain(data []byte, err error) (line int, what, remedy string) {
	line, says := yamlError(err)
	data = fromUTF16(data)
	if n := brokenFrom(data); n > 0 {
		line = n
	}
	lines := strings.Split(string(data), "\n")
	switch {
	case errors.Is(err, errDocuments), strings.Contains(says, "<document start>"):
		line++ // the library counts these from 0
		if n := secondDocument(lines); n > 0 {
			line, says = n, errDocuments.Error()
		}
	case strings.Contains(says, "tab character"): // which may stand further down
		line = min(max(line, 1), len(lines))
		if i := slices.IndexFunc(lines[line-1:], tabbed); i >= 0 {
			line += i
		}
	}
	here := textOf(lines, line)
	before := line - 1 // the nearest line above that is not empty or a comment
	for before > 0 && (strings.TrimSpace(lines[before-1]) == "" || strings.HasPrefix(strings.TrimSpace(lines[before-1]), "#")) {
		before--
	}
	above := textOf(lines, before)
	if tabbed(here) {
		what = "the line is indented with a tab"
		if lead := here[:indentation(here)]; strings.Contains(lead[:strings.IndexByte(lead, '\t')], "-") {
			what = `a tab stands behind the "-"`
		}
		return line, what, "use spaces: YAML does not take tabs for indentation"
	}
	if key := closed.FindStringSubmatch(above); key != nil && strings.HasPrefix(strings.TrimSpace(here), "- ") {
		return line, fmt.Sprintf("an entry follows %q, which says that there is none", strings.TrimSpace(key[1])+": "+key[2]),
			fmt.Sprintf("remove the %s in line %d", key[2], before)
	}
	if a := bracketed.FindStringSubmatch(here); a != nil {
		return line, "an address in brackets is a list to YAML", fmt.Sprintf(`write "%s", with the quotes`, a[1])
	}
	const noColon = "mapping values are not allowed"
	if strings.Contains(says, noColon) && above != "" && !strings.Contains(above, ":") && indentation(here) <= indentation(above) {
		return before, `the key has no ": " behind it`, "write KEY: VALUE, with a space after the colon"
	}
	for _, f := range indentFaults {
		if !strings.Contains(says, f) || above == "" || indentation(here) == indentation(above) {
			continue
		}
		if opens := strings.HasSuffix(strings.TrimSpace(above), ":"); opens && indentation(here) > indentation(above) {
			continue // the indentation is right: something else is wrong
		}
		return line, fmt.Sprintf("the key begins in column %d, the one above it in column %d", indentation(here)+1, indentation(above)+1),
			`give all keys of one entry the same indentation, and quote values that hold ": " or "#"`
	}
	for _, f := range faults {
		if strings.Contains(says, f.says) {
			return line, f.what, f.remedy
		}
	}
	return line, says, `indent with spaces, all keys of an entry alike, and quote values that hold ": " or "#"`
}

// textOf is the line with that number, from 1; empty if there is none.
func textOf(lines []string, n int) string {
	if n < 1 || n > len(lines) {
		return ""
	}
	return lines[n-1]
}

// indentation counts the bytes before the key of a line; the "- " of an entry is a part of it.
func indentation(line string) int {
	return len(line) - len(strings.TrimLeft(line, " \t-"))
}

// tabbed reports whether a tab stands before the key of a line.
func tabbed(line string) bool { return strings.Contains(line[:indentation(line)], "\t") }

// closed matches a key with a list or group that is empty, so that nothing can stand below it.
var closed = regexp.MustCompile(`^\s*([^\s#-][^#]*):\s*(\[\]|\{\}|null|~)\s*(?:#.*)?$`)

// bracketed matches a value that is an IPv6 address with a port, without quotes.
var bracketed = regexp.MustCompile(`:\s+(\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%\w+)?\]:\d+)\s*(?:#.*)?$`)

// secondDocument is the line that begins another document, 0 if there is none.
func secondDocument(lines []string) int {
	begun := false
	for i, line := range lines {
		mark := strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")
		if mark && begun {
			return i + 1
		}
		text := strings.TrimSpace(line)
		begun = begun || mark || text != "" && !strings.HasPrefix(text, "#")
	}
	return 0
}

// Lines in which a character that only looks like a space or a hyphen stands where YAML wants one: before the key, behind
// the "-" or behind the colon. Web pages and text programs make them.
var (
	oddSpace  = regexp.MustCompile(`(?m)^[ \t-]*(?:[A-Za-z_]+:)? *([\x{a0}\x{1680}\x{2000}-\x{200b}\x{202f}\x{205f}\x{3000}])`)
	oddHyphen = regexp.MustCompile(`(?m)^ *([\x{2010}-\x{2015}\x{2022}\x{2212}])[ \x{a0}]`)
)

// lookalike finds the first line with such a character, and says what it looks like; the line is 0 if there is none.
func lookalike(data []byte) (line int, odd rune, plain string) {
	m, plain := oddSpace.FindSubmatchIndex(data), "space"
	if m == nil {
		m, plain = oddHyphen.FindSubmatchIndex(data), "hyphen"
	}
	if m == nil {
		return 0, 0, ""
	}
	odd, _ = utf8.DecodeRune(data[m[2]:])
	return bytes.Count(data[:m[2]], []byte("\n")) + 1, odd, plain
}

// fromUTF16 gives a file in UTF-16, which its first two bytes tell, as UTF-8.
func fromUTF16(data []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return data
	}
	var text []uint16
	for data = data[2:]; len(data) >= 2; data = data[2:] {
		text = append(text, order.Uint16(data))
	}
	return []byte(string(utf16.Decode(text)))
}

// Bounds, in lines and bytes, of a file of which every beginning is parsed to find the place of a mistake.
const (
	maxSoughtLines = 500
	maxSoughtBytes = 64 << 10
)

// brokenFrom finds the first line at which a file is no YAML any more: the line after its longest beginning that is
// YAML. The library names the line in which the broken structure begins, which may be far above. It is 0 if the file is
// too long for that.
func brokenFrom(data []byte) int {
	if len(data) > maxSoughtBytes || yaml.Unmarshal(data, new(yaml.Node)) == nil { // the mistake is none of syntax
		return 0
	}
	ends := []int{0} // of the lines
	for i, c := range data {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(ends) > maxSoughtLines {
		return 0
	}
	for n := len(ends) - 1; n >= 0; n-- {
		if err := yaml.Unmarshal(data[:ends[n]], new(yaml.Node)); err == nil {
			return n + 1
		}
	}
	return 0
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// yamlError takes line and text out of an error of the YAML library.
func yamlError(err error) (int, string) {
	first, _, _ := strings.Cut(err.Error(), "\n")
	m := yamlLine.FindStringSubmatch(first)
	if m == nil {
		return 0, first
	}
	line, _ := strconv.Atoi(m[1])
	return line, m[2]
}
