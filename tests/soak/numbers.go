package main

import (
	"encoding/binary"
	"fmt"
	"time"
)

// numbers checks that the numbers that a peripheral notifies come one after another.
type numbers struct {
	of    string
	armed bool // subscribed, on a link that is up
	known bool
	last  uint32
	at    time.Time // of the last one, or of the subscription
}

// reset is for the end of a link or a subscription: what comes next is a new beginning.
func (n *numbers) reset() { n.armed, n.known = false, false }

// arm is for a subscription that was confirmed.
func (n *numbers) arm() {
	if !n.armed {
		n.armed, n.at = true, time.Now()
	}
}

// take takes a notification.
func (n *numbers) take(s *soak, v []byte) {
	if len(v) != 4 {
		s.found.add("notifications", fmt.Sprintf("%s: value of %d bytes", n.of, len(v)))
		return
	}
	got := binary.LittleEndian.Uint32(v)
	if n.known && got != n.last+1 {
		s.tally.add("notifications lost or out of order", 1)
		s.found.add("notifications", fmt.Sprintf("%s: %d after %d on a link that stayed up", n.of, got, n.last))
	}
	s.tally.add("notifications received", 1)
	n.known, n.last, n.at = true, got, time.Now()
}

// stallLimit is how long a link may seem up without a notification: a dead session is noticed within 20 s.
const stallLimit = 45 * time.Second

// check notes a subscription that says nothing any more.
func (n *numbers) check(s *soak) {
	if d := time.Since(n.at); n.armed && d > stallLimit {
		s.found.add("notifications", fmt.Sprintf("%s: none for %v on a link that is up", n.of, d.Round(time.Second)))
		n.at = time.Now()
	}
}
