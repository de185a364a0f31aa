package gatt

import (
	"encoding/binary"
	"time"
)

// rediscoverPause is the least time between two rediscoveries for Service Changed.
const rediscoverPause = 5 * time.Second

// handleRange is a range of attribute handles, both ends included. The zero value is no range: 0 is no handle.
type handleRange struct{ from, to uint16 }

// changedRange reads the value of Service Changed (Bluetooth Core, Vol 3 Part G, 7.1). A malformed value concerns all
// handles.
func changedRange(value []byte) handleRange {
	if len(value) != 4 {
		return handleRange{1, lastHandle}
	}
	return handleRange{binary.LittleEndian.Uint16(value), binary.LittleEndian.Uint16(value[2:])}
}

// join gives the smallest range that has both.
func (r handleRange) join(other handleRange) handleRange {
	if r == (handleRange{}) {
		return other
	}
	return handleRange{min(r.from, other.from), max(r.to, other.to)}
}

// serviceChange is what Service Changed said that has not been honoured yet. It is under Manager.mu.
type serviceChange struct {
	pending bool        // the database is to be discovered again
	handles handleRange // which may mean something else now
	last    time.Time   // when the last one was honoured
	timer   *time.Timer // runs until the next may be honoured
}

// noteLocked adds a range of handles that are not what they were.
func (c *serviceChange) noteLocked(changed handleRange) {
	c.pending, c.handles = true, c.handles.join(changed)
}

// concernsLocked reports whether the handle may mean another attribute than in the database.
func (c *serviceChange) concernsLocked(handle uint16) bool {
	return c.pending && handle >= c.handles.from && handle <= c.handles.to
}

// honouredLocked notes that the database is known again.
func (c *serviceChange) honouredLocked() {
	c.pending, c.handles, c.last = false, handleRange{}, time.Now()
}

// waitLocked is how long it is until a change may be honoured, at most rediscoverPause.
func (c *serviceChange) waitLocked() time.Duration {
	if c.last.IsZero() {
		return 0
	}
	return rediscoverPause - time.Since(c.last)
}

// stopLocked stops the timer, as the link has ended.
func (c *serviceChange) stopLocked() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// rediscoverLocked: the peripheral says that attributes in the range are not what they were. Until the database is
// known again no operation is begun and no value of the range is taken.
func (s *session) rediscoverLocked(changed handleRange) {
	s.change.noteLocked(changed)
	s.wakeLocked()
}

// takeChange reports whether the database is to be discovered again now. Indications that come faster than
// rediscoverPause are honoured once, when it is over.
func (s *session) takeChange() bool {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	c := &s.change
	if !c.pending || s.flight != nil || s.draining {
		return false
	}
	if wait := c.waitLocked(); wait > 0 {
		if c.timer == nil {
			c.timer = time.AfterFunc(wait, func() {
				s.m.mu.Lock()
				defer s.m.mu.Unlock()
				c.timer = nil
				s.wakeLocked()
			})
		}
		return false
	}
	s.idle = nil
	return true
}

// rediscovered ends what rediscoverLocked began.
func (s *session) rediscovered() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.change.honouredLocked()
}
