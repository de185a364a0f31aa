package hci

import (
	"bytes"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/h4"
	"bluez-esphome/internal/lockorder"
)

const (
	// repeatAfter is when a device whose payload stays the same is reported again in spite of the duplicate filter: the
	// kernel connects on a report only, and would else wait until it restarts its scan.
	repeatAfter = time.Second
	// recently is how old the last advertisement of a device on the accept list may be to be reported when a scan starts.
	recently = 10 * time.Second
	// maxSeen bounds the devices that the duplicate filter knows.
	maxSeen = 16384
	// maxReports bounds the advertisements that wait for the host: the oldest go first.
	maxReports = 512
	// reportRate is how many advertisements a second go to a host, burst how many at once. The kernel handles each event
	// in one work queue, and bluetoothd looks at each.
	reportRate, reportBurst = 500, 256
	// maxData is an advertisement and its scan response.
	maxData = 62
)

// scanConfig is LE Set Scan Parameters.
type scanConfig struct {
	active     bool
	acceptList bool
}

// report is one advertisement that waits for the host.
type report struct {
	addr ble.Address
	typ  ble.AddressType
	rssi int8
	n    uint8
	data [maxData]byte
}

// waits is what LE Create Connection waits for.
type waits uint8

const (
	waitsNot waits = iota
	waitsDevice
	waitsList // any device on the accept list
)

// seen is what the duplicate filter knows of a device.
type seen struct {
	at   time.Duration // since scan.epoch: of the last report
	n    uint8         // maxData+1: nothing is known
	data [maxData]byte
}

// scan is the controller's scanning: which advertisements the host gets. It has a lock of its own, since advertisements
// come from the goroutines that read the proxies.
type scan struct {
	wanted atomic.Bool // somebody wants advertisements: the host scans, or waits for a device
	epoch  time.Time
	last   func(ble.Address) (ble.RawAdvert, time.Time, bool)
	linked func(ble.Address) bool
	settling

	mu     lockorder.Mutex[lockorder.ControllerScan]
	out    *outbox // is poked when there is something for next
	cfg    scanConfig
	on     bool
	filter bool // duplicates
	masked bool // the host's event masks hold reports back
	accept map[ble.Address]ble.AddressType
	waits  waits       // whether LE Create Connection waits for a device to be heard
	device ble.Address // the one, with waitsDevice
	seen   map[ble.Address]*seen
	reportQueue
}

// reportQueue has the advertisements that wait for the host, and bounds their rate.
type reportQueue struct {
	queue   []report // a ring of maxReports, allocated with the first scan
	first   int
	count   int
	tokens  float64
	filled  time.Duration // when tokens were counted last
	reports uint64
	dropped uint64
}

func newScan() *scan {
	return &scan{epoch: time.Now().Add(-time.Hour), accept: map[ble.Address]ble.AddressType{}}
}

// reset forgets everything; from then on what is heard is for another outbox.
func (s *scan) reset(out *outbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out, s.cfg, s.on, s.masked, s.waits = out, scanConfig{}, false, false, waitsNot
	s.accept = map[ble.Address]ble.AddressType{}
	s.stopLocked()
	s.wantedLocked()
}

// stopLocked gives up what waits, and the memory.
func (s *scan) stopLocked() { s.seen, s.queue, s.first, s.count = nil, nil, 0, 0 }

func (s *scan) wantedLocked() { s.wanted.Store(s.on && !s.masked || s.waits != waitsNot) }

func (s *scan) setMask(reports bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.masked = !reports
	s.wantedLocked()
}

// wish is what the scan wants of the proxies.
func (s *scan) wish() (listens, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on || s.waits != waitsNot, s.on && s.cfg.active
}

// configure is LE Set Scan Parameters; it reports false while scanning.
func (s *scan) configure(cfg scanConfig) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		return false
	}
	s.cfg = cfg
	return true
}

// enable is LE Set Scan Enable. With each start everything is new.
func (s *scan) enable(on, filter bool) {
	passive := on && s.passive()
	s.mu.Lock()
	s.beginLocked(on && s.cfg.active, passive)
	s.on, s.filter = on, filter
	s.stopLocked()
	if on {
		s.seen = map[ble.Address]*seen{}
		s.queue = make([]report, maxReports)
		s.tokens, s.filled = reportBurst, time.Since(s.epoch)
	}
	var listed []ble.Address
	if on && s.cfg.acceptList && !s.masked {
		for a := range s.accept {
			listed = append(listed, a)
		}
	}
	s.wantedLocked()
	s.mu.Unlock()
	s.known(listed)
}

// known reports the last advertisements of devices that the host waits for: what was heard just now, while a proxy may
// pause its scanner to connect, and what does not advertise because another party holds its link, which the host can
// join.
func (s *scan) known(list []ble.Address) {
	now := time.Now()
	for _, a := range list {
		raw, at, ok := s.last(a)
		if !ok || now.Sub(at) > recently && !s.linked(a) {
			continue
		}
		s.mu.Lock()
		if s.on {
			s.advertLocked(now.Sub(s.epoch), &raw)
		}
		s.mu.Unlock()
	}
}

// wait says what LE Create Connection waits for from now on.
func (s *scan) wait(w waits, device ble.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits, s.device = w, device
	s.wantedLocked()
}

func (s *scan) awaitedLocked(a ble.Address) bool {
	if s.waits == waitsList {
		_, ok := s.accept[a]
		return ok
	}
	return a == s.device
}

// adverts takes a batch. It returns a device for which LE Create Connection waits, if one was heard.
func (s *scan) adverts(at time.Time, batch []ble.RawAdvert) (device ble.Address, heard bool) {
	now := at.Sub(s.epoch)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		if s.waits != waitsNot && !heard && s.awaitedLocked(batch[i].Address) {
			device, heard = batch[i].Address, true
		}
		if s.on && !s.masked {
			s.advertLocked(now, &batch[i])
		}
	}
	return device, heard
}

// advertLocked decides on one advertisement. It is the hot path.
func (s *scan) advertLocked(now time.Duration, raw *ble.RawAdvert) {
	if s.cfg.acceptList {
		if _, ok := s.accept[raw.Address]; !ok {
			return
		}
	}
	data := raw.Data[:min(len(raw.Data), maxData)]
	if s.unsettled.Load() && len(data) <= h4.MaxLegacy && s.seen[raw.Address] == nil {
		return
	}
	if s.filter {
		k := s.seen[raw.Address]
		if k == nil {
			if len(s.seen) >= maxSeen {
				clear(s.seen)
			}
			k = &seen{n: maxData + 1}
			s.seen[raw.Address] = k
		}
		if int(k.n) == len(data) && now-k.at < s.repeatLocked() && bytes.Equal(k.data[:k.n], data) {
			return
		}
		k.at, k.n = now, uint8(copy(k.data[:], data))
	}
	if s.count == maxReports { // the host does not keep up: it loses the oldest, which the filter lets pass again
		s.dropped++
		if k := s.seen[s.queue[s.first].addr]; k != nil {
			k.n = maxData + 1
		}
		s.first = (s.first + 1) % maxReports
		s.count--
	}
	r := &s.queue[(s.first+s.count)%maxReports]
	r.addr, r.typ, r.rssi, r.n = raw.Address, raw.Type, raw.RSSI, uint8(copy(r.data[:], data))
	s.count++
	if s.count == 1 {
		s.out.poke()
	}
}

// repeatLocked is when a device that says nothing new is reported again: where there are so many that this would take
// more than half of the rate, later, so that each of them gets its turn.
func (s *scan) repeatLocked() time.Duration {
	return max(repeatAfter, time.Duration(len(s.seen))*time.Second/(reportRate/2))
}

// next appends the packets of reports that wait for the host of out to b, as many as the rate allows, at most max
// bytes. again is how long to wait for more, 0 if none waits.
func (s *scan) next(out *outbox, b []byte, max int, cut func(n int)) (_ []byte, again time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 || s.out != out {
		return b, 0
	}
	now := time.Since(s.epoch)
	s.tokens = min(reportBurst, s.tokens+(now-s.filled).Seconds()*reportRate)
	s.filled = now
	for ; s.count > 0 && len(b) < max; s.count-- {
		if s.tokens < 1 {
			return b, time.Duration((1 - s.tokens) / reportRate * float64(time.Second))
		}
		s.tokens--
		s.reports++
		b = appendReports(b, &s.queue[s.first], s.cfg.active, cut)
		s.first = (s.first + 1) % maxReports
	}
	if s.count > 0 {
		return b, 1 // the rest as soon as this is written
	}
	return b, 0
}
