package logger

import (
	"bytes"
	"io"
	"log/slog"
	"regexp"
	"time"

	"bluez-esphome/internal/lockorder"
)

// bluetoothAddress is one in any of the forms that occur: with colons, with dashes as the alias of a nameless
// device, and with underscores in object paths. Six pairs and no more: an IPv6 address has other groups.
var bluetoothAddress = regexp.MustCompile(`(?i)\b(dev_)?[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5}|(?:_[0-9a-f]{2}){5})(/|\b|_)`)

// hidden takes the place of an address.
const hidden = "${1}XX:XX:XX:XX:XX:XX${2}"

// A lineWriter writes lines whole, after a prefix and without addresses if that is wanted. It is goroutine-safe.
type lineWriter struct {
	w      io.Writer
	redact bool

	mu  lockorder.Mutex[lockorder.Log]
	buf bytes.Buffer
}

// line writes what f writes into the lineWriter as one line.
func (l *lineWriter) line(prefix string, f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
	l.buf.WriteString(prefix)
	if err := f(); err != nil {
		return err
	}
	b := l.buf.Bytes()
	if l.redact {
		b = bluetoothAddress.ReplaceAll(b, []byte(hidden))
	}
	_, err := l.w.Write(b)
	return err
}

// Write is for the handler that line calls.
func (l *lineWriter) Write(b []byte) (int, error) { return l.buf.Write(b) }

// How often the same line is written: maxRepeats times in repeatWindow, then once in each further one,
// with the number of those held back. Lines with one message about different things, such as hosts and devices,
// which strangers can make up, are written maxSimilar times in each. At most maxKeys different lines are remembered.
const (
	maxRepeats   = 5
	maxSimilar   = 512 // more than there are proxies anywhere
	repeatWindow = time.Minute
	maxKeys      = 1024
)

// repeats knows the lines of the last minute. It is goroutine-safe.
type repeats struct {
	mu       lockorder.Mutex[lockorder.Log]
	seen     map[string]*repeat // by recordKey
	messages map[string]*repeat // by the message alone
}

type repeat struct {
	since   time.Time
	written int
	held    int
}

func newRepeats() *repeats {
	return &repeats{seen: map[string]*repeat{}, messages: map[string]*repeat{}}
}

// pass says whether a line may be written, and how many were held back since the last one: equal ones, and others with
// the same message.
func (r *repeats) pass(message, key string, now time.Time) (write bool, held, similar int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[message]
	switch {
	case m == nil:
		if len(r.messages) >= maxKeys { // messages are few, unless one is made of something that changes
			clear(r.messages)
		}
		m = &repeat{since: now}
		r.messages[message] = m
	case now.Sub(m.since) >= repeatWindow:
		*m = repeat{since: now, held: m.held}
	case m.written >= maxSimilar:
		m.held++
		return false, 0, 0
	}
	write, held = r.again(key, now)
	if !write {
		return false, 0, 0
	}
	similar = m.held
	m.written, m.held = m.written+1, 0
	return true, held, similar
}

// again says whether an equal line may be written, and how many were held back since the last one. r.mu is held.
func (r *repeats) again(key string, now time.Time) (write bool, held int) {
	e := r.seen[key]
	if e == nil {
		if len(r.seen) >= maxKeys {
			r.forget(now)
		}
		r.seen[key] = &repeat{since: now, written: 1}
		return true, 0
	}
	if now.Sub(e.since) >= repeatWindow {
		held = e.held
		*e = repeat{since: now, written: 1}
		if held > 0 {
			e.written = maxRepeats // it goes on: one per window
		}
		return true, held
	}
	if e.written < maxRepeats {
		e.written++
		return true, 0
	}
	e.held++
	return false, 0
}

// forget drops what is old, or everything if nothing is.
func (r *repeats) forget(now time.Time) {
	for k, e := range r.seen {
		if now.Sub(e.since) >= repeatWindow {
			delete(r.seen, k)
		}
	}
	if len(r.seen) >= maxKeys {
		clear(r.seen)
	}
}

// recordKey is equal for lines that say the same.
func recordKey(with string, r slog.Record) string {
	key := r.Level.String() + "\x00" + r.Message + "\x00" + with
	r.Attrs(func(a slog.Attr) bool {
		key += "\x00" + a.Key + "=" + a.Value.Resolve().String()
		return true
	})
	return key
}
