package main

import (
	"bytes"
	"io"
	"os"
	"strings"

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
	"online": green, "connected": green, "paired": green, "connecting": yellow,
	"offline": red, "auth-failed": red, "displaced": red, "deaf": red,
}

// colour makes the head of a table bold and colours its column STATE. Columns are counted in
// characters, as tabwriter does.
func colour(table string) string {
	lines := strings.SplitAfter(table, "\n")
	before, _, found := strings.Cut(lines[0], "STATE")
	if !found {
		return table
	}
	column := len([]rune(before))
	for i, line := range lines {
		if i == 0 {
			lines[i] = bold + strings.TrimSuffix(line, "\n") + plain + "\n"
			continue
		}
		r := []rune(line)
		if len(r) <= column {
			continue
		}
		word, rest, _ := strings.Cut(string(r[column:]), " ")
		if c := stateColours[word]; c != "" {
			lines[i] = string(r[:column]) + c + word + plain + " " + rest
		}
	}
	return strings.Join(lines, "")
}

// printable keeps names from the air and from proxies from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
