package privatebus

import (
	"bytes"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"bluez-esphome/internal/lockorder"
)

// Bounds of what dbus-daemon says on its standard error. Its clients can make it say much, for example by connecting
// again and again while it has no descriptor left.
const (
	maxLine       = 512 // bytes of one line; the rest of it is dropped
	maxLines      = 20  // in each complaintWindow
	complaintTime = time.Minute
)

// What dbus-daemon says at every start is no complaint.
const (
	// The end of the line which confirms that it read its configuration again, as Publish asked it to. It may say so
	// twice, as it also watches the folder of the file.
	reloaded = "Reloaded configuration"
	// A bus of the type "system" asks for more descriptors than a user's process may have, and goes on with what it has.
	fdLimit = "Failed to set fd limit to "
)

// complaints passes what dbus-daemon says on to the log, a line at a time, and remembers the first lines for an error
// message. It is goroutine-safe.
type complaints struct {
	log *slog.Logger

	mu     lockorder.Mutex[lockorder.Leaf]
	line   []byte // of the line that is not complete, at most maxLine
	first  []string
	since  time.Time
	said   int // lines in the present window
	silent int // lines that were dropped since the last one that was logged
}

// Write implements io.Writer. It never fails.
func (c *complaints) Write(b []byte) (int, error) {
	n := len(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(b) > 0 {
		part, rest, end := bytes.Cut(b, []byte{'\n'})
		c.line = append(c.line, part[:min(len(part), maxLine-len(c.line))]...)
		if end {
			c.complete()
		}
		b = rest
	}
	return n, nil
}

// complete takes a whole line. c.mu is held.
func (c *complaints) complete() {
	text := printable(string(c.line))
	c.line = c.line[:0]
	if text == "" {
		return
	}
	if strings.HasSuffix(text, reloaded) || strings.Contains(text, fdLimit) {
		c.log.Debug("dbus-daemon of the private bus says", "text", text)
		return
	}
	if len(c.first) < maxLines {
		c.first = append(c.first, text)
	}
	now := time.Now()
	if now.Sub(c.since) >= complaintTime {
		c.since, c.said = now, 0
	}
	c.said++
	if c.said > maxLines {
		c.silent++
		return
	}
	attrs := []any{"text", text}
	if c.silent > 0 {
		attrs = append(attrs, "dropped", c.silent)
		c.silent = 0
	}
	c.log.Warn("dbus-daemon of the private bus complains", attrs...)
}

// text is what was said first, as one line.
func (c *complaints) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.first, "; ")
}

func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?")))
}
