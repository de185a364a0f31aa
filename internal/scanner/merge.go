package scanner

import "time"

// Who owns a device. The numbers are habluetooth 7.1.2's, whose recorded traces the
// tests replay.
const (
	smoothing     = 0.3 // weight of a new RSSI once several proxies hear the device
	switchMargin  = 16  // dB by which a challenger must be louder
	reclaimMargin = 6   // dB more if it lost the device to a louder one before
	weakOwner     = -70 // dBm: below, a comparable challenger takes over a late device
	lateFactor    = 1.5
	goneFactor    = 2.5
	learnAdverts  = 16
	staleSlack    = 5 * time.Second
	staleUnknown  = 900 * time.Second
	// Ours: an interval that is not yet learned is estimated from fewer adverts, or from what
	// another proxy learned, but never taken to be shorter than this.
	staleEstimate = 30 * time.Second
	estimateFrom  = 4
	// A proxy that heard nothing at all for so long is taken to be deaf.
	deafAfter = 90 * time.Second
)

// source is one proxy's history of one device.
type source struct {
	proxy    *proxy
	gen      uint32
	rssi     int8    // dBm, valid if known
	known    bool    // some RSSI was known
	lost     bool    // lost the device to a louder proxy
	count    uint8   // adverts in the present learning window
	smoothed float32 // dBm
	heard    int64
	maxGap   int64  // of the present learning window
	interval int64  // learned, 0 unknown
	cursor   uint64 // what it said last, as its number in the device's content
}

func (s *source) valid() bool { return s.proxy.up && s.gen == s.proxy.gen }

// hear notes time and RSSI and reports whether the RSSI is known (0 and -127 mean unknown,
// ESPHome native API; 127 is a controller's "not available").
func (s *source) hear(now int64, rssi int8, several bool) bool {
	if s.count == 0 || s.proxy.resumed > s.heard {
		s.count, s.maxGap = 1, 0
	} else {
		s.maxGap = max(s.maxGap, now-s.heard)
		if s.count++; s.count == learnAdverts {
			s.interval, s.count, s.maxGap = s.maxGap, 1, 0
		}
	}
	s.heard = max(s.heard, now)
	if rssi == 0 || rssi == -127 || rssi == 127 {
		return false
	}
	if s.known && several {
		s.smoothed += smoothing * (float32(rssi) - s.smoothed)
	} else {
		s.smoothed = float32(rssi)
	}
	s.rssi, s.known = rssi, true
	return true
}

// live reports whether p hears anything at present.
func (p *proxy) live(now int64) bool {
	return p.up && !p.paused && now-p.heard <= int64(deafAfter)
}

// elect decides whether the proxy that just heard d becomes its owner.
func (t *Table) elect(d *device, s *source, now int64, known bool) {
	o := d.ownerSource()
	if o == s {
		return
	}
	byRSSI := false
	if o != nil && o.proxy.live(now) && !d.late(o, s, now) {
		if byRSSI = known && s.louder(o); !byRSSI {
			return
		}
	}
	if o != nil {
		o.lost = byRSSI
		t.stats.Switches++
	}
	d.belongTo(s.proxy)
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
	return silent > lateFactor*stale && s.known && o.known && o.smoothed < weakOwner &&
		s.smoothed >= o.smoothed-switchMargin
}

// louder reports whether challenger s is clearly louder than owner o.
func (s *source) louder(o *source) bool {
	margin := float32(switchMargin)
	if s.lost {
		margin += reclaimMargin
	}
	return !o.known || s.smoothed-margin > o.smoothed
}

// staleAfter is how long the owner may be silent before others may take over without being louder.
func (d *device) staleAfter(o *source) time.Duration {
	if o.interval > 0 {
		return time.Duration(o.interval) + staleSlack
	}
	if o.count >= estimateFrom {
		return min(staleUnknown, max(staleEstimate, time.Duration(4*o.maxGap)+staleSlack))
	}
	var other int64
	for i := range d.sources {
		other = max(other, d.sources[i].interval)
	}
	if other > 0 {
		return min(staleUnknown, max(staleEstimate, time.Duration(other)+staleSlack))
	}
	return staleUnknown
}
