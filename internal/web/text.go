package web

import (
	"strings"
	"unicode"
)

// maxText bounds a text from the network or the air, in runes.
const maxText = 64

// text makes a text from the network or the air fit to be shown: it is valid UTF-8 of at most maxText runes, without
// characters that control or reorder the text around it.
func text(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	n := 0
	return strings.Map(func(r rune) rune {
		n++
		if n > maxText {
			return -1
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// message does the same for sentences of our own, which are longer.
func message(s string) string {
	const most = 400
	var b strings.Builder
	for n, r := range []rune(strings.ToValidUTF8(s[:min(len(s), 4*most)], "\ufffd")) {
		if n >= most {
			break
		}
		b.WriteString(text(string(r)))
	}
	return b.String()
}
