package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"
)

// What terminals understand (ECMA-48).
const (
	clearScreen = "\x1b[H\x1b[2J"
	bold        = "\x1b[1m"
	red         = "\x1b[31m"
	green       = "\x1b[32m"
	yellow      = "\x1b[33m"
	plain       = "\x1b[0m"
)

// A screen is a page that will be shown on out, all at once.
type screen struct {
	*bytes.Buffer
	out io.Writer
}

// isTerminal says whether somebody looks at what is written to w.
func isTerminal(w io.Writer) bool {
	if s, ok := w.(screen); ok {
		w = s.out
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wantColours follows no-color.org: none if NO_COLOR is set and not empty, and none but on a terminal.
func wantColours(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// stateColours are of words in the column STATE.
var stateColours = map[string]string{
	"online": green, "connected": green, "paired": green, "connecting": yellow, "releasing": yellow, "foreign": yellow,
	"offline": red, "auth-failed": red, "displaced": red, "deaf": red,
}

// heads begin the lines above a table.
var heads = regexp.MustCompile(`^(PROXY|DEVICE|SHARED AS) `)

// colour makes the heads of tables bold and colours their columns STATE. A table ends with an empty line. Columns are
// counted in characters, as tabwriter does.
func colour(page string) string {
	lines := strings.SplitAfter(page, "\n")
	column := -1 // of STATE; none outside of tables
	for i, line := range lines {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case text == "":
			column = -1
		case heads.MatchString(text):
			if before, _, found := strings.Cut(text, "STATE"); found {
				column = len([]rune(before))
			}
			lines[i] = bold + text + plain + "\n"
		case column >= 0 && len([]rune(text)) > column:
			r := []rune(text)
			word, _, _ := strings.Cut(string(r[column:]), " ")
			if c := stateColours[word]; c != "" {
				lines[i] = string(r[:column]) + c + word + plain + string(r[column+len([]rune(word)):]) + "\n"
			}
		}
	}
	return strings.Join(lines, "")
}

// printable keeps names from the air and from proxies from steering the terminal or reordering what stands around them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && steers(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// steers: a terminal obeys it, or shows other characters in another order.
func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// printJSON prints a value as JSON in which what steers a terminal is escaped, so that it is the same to a program.
func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range string(b) {
		if r == '\n' || !steers(r) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	out.WriteByte('\n')
	_, err = io.WriteString(w, out.String())
	return err
}
