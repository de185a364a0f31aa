package scanner

import "time"

// Which of two contents was sent first, if two proxies heard one each? Nothing on the wire tells: the native API
// carries neither a clock nor a number. But what several proxies hear tells how far each is behind the fastest, and
// that changes slowly. So each history has the lag of its proxy, and with it the time at which its contents were sent.
//
//	fastest  1   2   4   5   6   7
//	slower         1   2   3   4   5     says 2 when 4 is the newest: its lag is between (2..4] and (2..2];
//	                       ^             what it alone says, here 3, was sent before the newest content: too late

// lag is how far a proxy is behind the fastest one that hears the device, in units of 20 ms and one; 0 is unknown.
type lag uint8

const (
	lagUnit = 20 * time.Millisecond
	maxLag  = 255 // 5.08 s: no less than replayWindow
)

func lagOf(ns int64) lag {
	return lag(min((max(ns, 0)+int64(lagUnit)-1)/int64(lagUnit)+1, maxLag))
}

// duration gives a lag as a time; it is 0 if the lag is unknown.
func (l lag) duration() time.Duration { return time.Duration(max(l, 1)-1) * lagUnit }

// behind is the lag of s, 0 as long as it was not measured.
func (s *source) behind() (ago time.Duration, measured bool) {
	if s.lag == 0 || s.has(rough) {
		return 0, false
	}
	return s.lag.duration(), true
}

// confirmed is the number of the newest content that is known to have been sent before whatever s says next.
func (s *source) confirmed() uint32 { return s.cursor - min(s.cursor, uint32(s.skipped)) }

// passOver counts the contents that s has skipped and that precede the one it is about to add. If s repeats one of them
// later, what it added belonged before that one.
func (s *source) passOver(l *contentLog) {
	s.skipped = uint8(min(l.head()-min(s.confirmed(), l.head()), 255))
}

// observe learns the lag of s from the content with that number, which another proxy said before. It returns false if
// this may be other content with the same bytes: the device may have returned to it.
func (d *device) observe(s *source, seq uint32, now int64) bool {
	l := &d.content
	i := int(seq - l.base)
	e := &l.entries[i]
	for j := range l.entries {
		if j != i && l.entries[j].hash == e.hash {
			return false
		}
	}
	if s.cursor == seq-1 && e.superseded == 0 {
		d.confirm(e.by, seq)
	}
	// It was sent after its predecessor and before its successor, as far as it is known when those were sent.
	least, most, bounded := int64(0), int64(replayWindow), e.lag != 0
	if e.superseded != 0 {
		least = now - l.sentAt(i+1)
	}
	if bounded {
		most = now - l.sentAt(i)
	}
	have := int64(s.lag.duration())
	_, measured := s.behind()
	switch {
	case !bounded && least > have, !bounded && least > 0 && !measured:
		s.lag = lagOf(least + int64(max(jitter, min(s.maxGap.duration(), time.Second))))
		s.set(rough, false)
	case !bounded && measured:
	case !bounded, s.cursor == 0 && least == 0:
		// This proxy may only just have begun to listen, so this says little about its lag.
		s.lag = lagOf(most)
		s.set(rough, true)
	case !measured || have < least:
		s.lag = lagOf(most)
		s.set(rough, false)
	case have < most:
		s.lag = lagOf(have + (most-have)/2)
	case have > most+int64(jitter):
		// It may have lost the first copies, so its lag moves towards this value in steps.
		s.lag = lagOf(have - (have-most)/4)
	}
	return true
}

// confirm notes that another proxy said the content with that number directly after its predecessor: the proxy that
// brought it was ahead, and its place in the log is right.
func (d *device) confirm(proxy uint16, seq uint32) {
	s := d.sources.get(proxy)
	if s == nil || s.cursor < seq {
		return
	}
	s.skipped = uint8(min(uint32(s.skipped), s.cursor-seq))
	if _, measured := s.behind(); !measured {
		s.lag = lagOf(0)
		s.set(rough, false)
	}
}

// jitter is how much the lag of a proxy varies: it gathers adverts for 100 ms, or 200 ms, before it passes them on
// (esphome-contract.md §11.5).
const jitter = 100 * time.Millisecond

// isNewer reports whether content of s that is not in the log was sent after the newest content.
func (t *Table) isNewer(d *device, s *source, now int64) bool {
	l := &d.content
	behind, measured := s.behind()
	switch {
	case s.cursor == l.head(): // or there is none
		return true
	case measured:
		return now-int64(behind) > l.sent
	case now-l.heard > int64(replayWindow) || d.silent(now):
		return true
	}
	// Where no lag is known, one proxy is believed once. After that, the proxy that brought the newest content goes on, or
	// any proxy if the newest content came late: one of them must be ahead.
	if l.guessed && l.entries[len(l.entries)-1].lag.duration() == 0 && (s.cursor < l.base || s.skipped > 0 || !l.displaced(s)) {
		return false
	}
	l.guessed = true
	return true
}

// displaced reports whether s had brought the newest content until one other proxy brought all that came after it.
func (l *contentLog) displaced(s *source) bool {
	later := l.entries[s.cursor-l.base:]
	for i := range later[1:] {
		if later[i+1].by != later[1].by {
			return false
		}
	}
	return later[0].by == s.proxy
}

// returned reports whether d has gone back to content that it sent before the newest: s says so, nobody repeats the
// newest content any more, and s does not lag so far behind.
func (d *device) returned(s *source, now int64) bool {
	return s.lag != 0 && d.silent(now) && now-int64(s.lag.duration()) > d.content.sent
}

// silent reports whether the newest content was not heard for longer than d is usually silent for its owner.
func (d *device) silent(now int64) bool {
	o := d.ownerSource()
	if o == nil {
		return true
	}
	usual := replayWindow
	switch {
	case o.interval > 0:
		usual = o.interval.duration()
	case o.count >= estimateFrom:
		usual = o.maxGap.duration()
	}
	usual += usual/2 + silenceSlack
	return now-d.content.heard > int64(min(usual, replayWindow))
}

// silenceSlack is for how long a proxy may gather adverts before it passes them on (esphome-contract.md §11.5).
const silenceSlack = 200 * time.Millisecond
