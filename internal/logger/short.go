package logger

import (
	"context"
	"io"
	"log/slog"
	"strings"
)

// shortHandler writes lines for a person at a terminal: the time of day, the level if it is not INFO, what the line is
// about, the message, and the other attributes, names without quotes where that is not ambiguous. It writes each line
// whole; its writer guards itself.
type shortHandler struct {
	w     io.Writer
	level slog.Leveler
	attrs []slog.Attr
	group string // of WithGroup, with a dot
}

func newShortHandler(w io.Writer, level slog.Leveler) *shortHandler {
	return &shortHandler{w: w, level: level}
}

// subjects are the keys of what a line is about: their values come before the message. leftOut are long and in status.
var (
	subjects = []string{"proxy", "device"}
	leftOut  = map[string]bool{"features": true}
)

// Enabled implements slog.Handler.
func (h *shortHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *shortHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.group + a.Key
		attrs = append(attrs, a)
		return true
	})
	var b strings.Builder
	if !r.Time.IsZero() {
		b.WriteString(r.Time.Format("15:04:05 "))
	}
	if r.Level != slog.LevelInfo {
		b.WriteString(r.Level.String() + " ")
	}
	about := ""
	for _, key := range subjects {
		for _, a := range attrs {
			if a.Key == key {
				about = strings.TrimSpace(about + " " + value(a.Value))
			}
		}
	}
	if about != "" {
		b.WriteString(about + ": ")
	}
	b.WriteString(oneLine(r.Message))
	for _, a := range attrs {
		if a.Key == "proxy" || a.Key == "device" || leftOut[a.Key] || a.Equal(slog.Attr{}) {
			continue
		}
		switch a.Key {
		case "error", "why":
			b.WriteString(": " + value(a.Value))
		default:
			b.WriteString(" " + a.Key + "=" + quoted(value(a.Value)))
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(h.w, b.String())
	return err
}

// WithAttrs implements slog.Handler.
func (h *shortHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	out.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		out.attrs = append(out.attrs, a)
	}
	return &out
}

// WithGroup implements slog.Handler.
func (h *shortHandler) WithGroup(name string) slog.Handler {
	out := *h
	if name != "" {
		out.group += name + "."
	}
	return &out
}

func value(v slog.Value) string { return oneLine(v.Resolve().String()) }

// oneLine keeps a text from the network from making lines of its own and from steering the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " =\"") {
		return `"` + strings.ReplaceAll(s, `"`, `'`) + `"`
	}
	return s
}
