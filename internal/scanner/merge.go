package scanner

import (
	"time"

	"bluez-esphome/internal/ble"
)

// Who owns a device. The numbers are habluetooth 7.1.2's, whose recorded traces the
// tests replay.
const (
	smoothing     = 0.3 // weight of a new RSSI once several proxies hear the device
	switchMargin  = 16  // dB by which a challenger must be louder
	reclaimMargin = 6   // dB more if it lost the device to a louder one before
	weakOwner     = -70 // dBm: below this, a challenger of comparable RSSI takes over a device that is late
	lateFactor    = 1.5
	goneFactor    = 2.5
	learnAdverts  = 16
	staleSlack    = 5 * time.Second
	staleUnknown  = 900 * time.Second
	// Our own addition: an interval that is not learned yet is estimated from fewer adverts, or taken from another proxy,
	// but never taken to be shorter than this.
	staleEstimate = 30 * time.Second
	estimateFrom  = 4
	// A proxy that has heard nothing at all for so long is taken to be deaf.
	deafAfter = 90 * time.Second
)

// hear notes time and RSSI in the history s of proxy p, and reports whether the RSSI is known.
func (d *device) hear(p *proxy, s *source, now int64, rssi int8) bool {
	if s.count == 0 || p.resumed > s.heard {
		s.count, s.maxGap = 1, 0
	} else {
		s.maxGap = max(s.maxGap, gapOf(now-s.heard))
		s.count++
		if s.count == learnAdverts {
			before := s.interval
			s.interval, s.count, s.maxGap = s.maxGap, 1, 0
			d.sources.learned(s, before)
		}
	}
	s.heard = max(s.heard, now)
	if !ble.KnownRSSI(rssi) {
		return false
	}
	level := decibels(float64(rssi))
	if s.has(known) && d.sources.n > 1 {
		s.smoothed += decibels(smoothing * (level.dBm() - s.smoothed.dBm()))
	} else {
		s.smoothed = level
	}
	s.rssi = rssi
	s.set(known, true)
	return true
}

// live reports whether p hears adverts at present.
func (p *proxy) live(now int64) bool {
	return p.up && !p.paused && now-p.heard <= int64(deafAfter)
}

// elect decides whether p, which just heard d, becomes its owner.
func (t *Table) elect(d *device, p *proxy, s *source, now int64, audible bool) {
	o := d.ownerSource()
	if o == s {
		return
	}
	byRSSI := false
	if o != nil && d.owner.live(now) && !d.late(o, s, now) {
		byRSSI = audible && s.louder(o)
		if !byRSSI {
			return
		}
	}
	if o != nil {
		o.set(lost, byRSSI)
		t.stats.Switches++
	}
	d.belongTo(p)
}

// late reports whether owner o is overdue enough for challenger s to take over.
func (d *device) late(o, s *source, now int64) bool {
	silent, stale := float64(now-o.heard), float64(d.staleAfter(o))
	switch {
	case silent <= stale:
		return false
	case silent > min(goneFactor*stale, float64(staleUnknown)):
		return true
	}
	return silent > lateFactor*stale && s.has(known) && o.has(known) && o.smoothed.dBm() < weakOwner &&
		s.smoothed.dBm() >= o.smoothed.dBm()-switchMargin
}

// louder reports whether challenger s is clearly louder than owner o.
func (s *source) louder(o *source) bool {
	margin := float64(switchMargin)
	if s.has(lost) {
		margin += reclaimMargin
	}
	return !o.has(known) || s.smoothed.dBm()-margin > o.smoothed.dBm()
}

// staleAfter is how long the owner may be silent before others may take over without being louder.
func (d *device) staleAfter(o *source) time.Duration {
	if o.interval > 0 {
		return o.interval.duration() + staleSlack
	}
	if o.count >= estimateFrom {
		return min(staleUnknown, max(staleEstimate, 4*o.maxGap.duration()+staleSlack))
	}
	if other := d.sources.longest; other > 0 {
		return min(staleUnknown, max(staleEstimate, other.duration()+staleSlack))
	}
	return staleUnknown
}
