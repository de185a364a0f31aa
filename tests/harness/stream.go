package harness

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Limit is how long a test waits for anything. It is so long that only a test that hangs reaches it, however busy the
// machine is.
const Limit = 4 * time.Minute

// Stream is the output of a process as it grows. It is goroutine-safe.
type Stream struct {
	mu      sync.Mutex
	buf     strings.Builder
	pos     int           // what Expect has consumed
	changed chan struct{} // closed at the next change
	ended   bool
}

// NewStream gives an empty stream.
func NewStream() *Stream { return &Stream{changed: make(chan struct{})} }

// escapes are the sequences by which a terminal program moves the cursor and colours text.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b\\][^\a]*\a|[\x01\x02\r]")

// Write appends output, without the escape sequences that arrive in one piece.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.WriteString(escapes.ReplaceAllString(string(p), ""))
	close(s.changed)
	s.changed = make(chan struct{})
	return len(p), nil
}

// End says that the output is complete.
func (s *Stream) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// String is everything so far.
func (s *Stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// find searches for re behind what was consumed, and consumes the text up to the end of the match.
func (s *Stream) find(re *regexp.Regexp) (match []string, ended bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.buf.String()[s.pos:]
	if loc := re.FindStringSubmatchIndex(rest); loc != nil {
		s.pos += loc[1]
		for i := 0; i < len(loc); i += 2 {
			if loc[i] < 0 {
				match = append(match, "")
				continue
			}
			match = append(match, rest[loc[i]:loc[i+1]])
		}
	}
	return match, s.ended, s.changed
}

// Expect waits until the pattern appears behind what the last Expect matched, and gives
// the match and its groups. It fails the test when the stream ends or Limit has passed.
func (s *Stream) Expect(t testing.TB, pattern string) []string {
	t.Helper()
	return s.ExpectIn(t, pattern, Limit)
}

// ExpectIn is Expect with another limit.
func (s *Stream) ExpectIn(t testing.TB, pattern string, limit time.Duration) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		match, ended, changed := s.find(re)
		if match != nil {
			return match
		}
		if ended {
			t.Fatalf("output ended without %q; it was:\n%s", pattern, tail(s.String()))
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("no %q within %v; output was:\n%s", pattern, limit, tail(s.String()))
		}
	}
}

// Count counts the matches of a pattern in everything so far.
func (s *Stream) Count(pattern string) int {
	return len(regexp.MustCompile(pattern).FindAllString(s.String(), -1))
}

// tail is the last lines, for a message that is read on a screen; everything is in the process's log.
func tail(s string) string {
	const lines, columns = 8, 200
	list := strings.Split(s, "\n")
	if n := len(list) - lines; n > 0 {
		list = append([]string{fmt.Sprintf("… %d lines", n)}, list[n:]...)
	}
	for i, l := range list {
		if r := []rune(l); len(r) > columns {
			list[i] = string(r[:columns]) + "…"
		}
	}
	return strings.Join(list, "\n")
}
