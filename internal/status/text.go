package status

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

func table(w io.Writer, head string) *tabwriter.Writer {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	return t
}

// row writes one line of cells. Their text may come from the air, so that whatever would end a column or a line is
// replaced.
func row(t io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = strings.Map(func(r rune) rune {
			if r < ' ' {
				return '?'
			}
			return r
		}, c)
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clip shortens a text to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// wrap writes a text in lines of at most width characters, with first before the first line and rest before the others.
// A word longer than a line is not broken.
func wrap(w io.Writer, first, rest, text string) {
	line, indent := first, true
	for _, word := range strings.Fields(text) {
		if !indent && len([]rune(line))+1+len([]rune(word)) > width {
			fmt.Fprintln(w, line)
			line, indent = rest, true
		}
		if !indent {
			line += " "
		}
		line, indent = line+word, false
	}
	fmt.Fprintln(w, line)
}

// ago says in a few characters how long a moment is past; a moment of 0 is never.
func ago(unix Moment, now time.Time) string {
	if unix == 0 {
		return "-"
	}
	d := max(0, now.Sub(time.Unix(int64(unix), 0)))
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

func agoLong(unix Moment, now time.Time) string {
	if unix == 0 {
		return "never"
	}
	return ago(unix, now) + " ago"
}
