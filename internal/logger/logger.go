// Package logger makes the program's log: text or JSON, with the journal's priorities, without Bluetooth addresses if
// that is wanted, and bounded where lines repeat or where strangers choose what differs in them.
package logger

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"bluez-esphome/internal/config"

	"golang.org/x/term"
)

// New makes the program's logger. Under the journal each line of text begins with its priority, "<4>", which
// the journal takes away, and carries no time, since the journal stamps it. A line that repeats is
// written at most so often, and so are lines that differ in their attributes only, but for those of a link's beginning
// and end; with log.redact no line has a Bluetooth address.
func New(w io.Writer, cfg config.Log) *slog.Logger {
	f, ok := w.(*os.File)
	journal := os.Getenv("JOURNAL_STREAM") != ""
	return newLogger(w, cfg, place{journal: journal, terminal: !journal && ok && term.IsTerminal(int(f.Fd()))})
}

// A place is where the lines go.
type place struct{ journal, terminal bool }

func newLogger(w io.Writer, cfg config.Log, at place) *slog.Logger {
	journal := at.journal
	opts := &slog.HandlerOptions{Level: cfg.Level}
	if journal {
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey && cfg.Format != config.LogJSON) {
				return slog.Attr{}
			}
			return a
		}
	}
	out := &lineWriter{w: w, redact: cfg.Redact}
	var h slog.Handler
	switch {
	case cfg.Format == config.LogJSON:
		h = slog.NewJSONHandler(out, opts)
	case at.terminal && cfg.Format != config.LogText:
		h = newShortHandler(out, cfg.Level)
	default:
		h = slog.NewTextHandler(out, opts)
	}
	return slog.New(&logHandler{Handler: h, out: out, repeats: newRepeats(), prefix: journal})
}

// logHandler puts priorities before the lines of another handler and holds repeats back.
type logHandler struct {
	slog.Handler
	out     *lineWriter
	repeats *repeats
	with    string // attributes and groups of With, as a key
	prefix  bool
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !ofLink(r) { // who debugs wants them all
		write, held, similar := h.repeats.pass(r.Message, recordKey(h.with, r), time.Now())
		if !write {
			return nil
		}
		if held > 0 || similar > 0 {
			r = r.Clone()
		}
		if held > 0 {
			r.AddAttrs(slog.Int("repeats", held))
		}
		if similar > 0 {
			r.AddAttrs(slog.Int("others_like_it", similar))
		}
	}
	prefix := ""
	if h.prefix {
		prefix = priority(r.Level)
	}
	return h.out.line(prefix, func() error { return h.Handler.Handle(ctx, r) })
}

// ofLink reports whether a line is the beginning or the end of a link: whoever asks why it dropped needs each of them.
// There are no more than proxies make links.
func ofLink(r slog.Record) bool {
	found := false
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == "link"
		return !found
	})
	return found
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.Handler = h.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		c.with += a.Key + "=" + a.Value.String() + "\x00"
	}
	return &c
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.Handler = h.Handler.WithGroup(name)
	c.with += name + "\x01"
	return &c
}

// priority is the journal's of a level (sd-daemon(3)).
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
