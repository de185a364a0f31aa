package scanner

import (
	"iter"
	"math"
	"time"

	"bluez-esphome/internal/ble"
)

// source is one proxy's history of one device. A building with 200 proxies and 5,000 devices has a million of them: 32
// bytes, and no pointer for the garbage collector to follow.
type source struct {
	heard    int64
	interval gap     // learned, 0 unknown
	maxGap   gap     // of the present learning window
	cursor   uint32  // number of the content that it said last; 0: none
	proxy    uint16  // its index in the table
	gen      uint16  // proxy.gen when the history began
	smoothed decibel // valid if known
	rssi     int8    // dBm, valid if known
	flags    sourceFlags
	count    uint8 // adverts in the present learning window
	skipped  uint8 // how many contents before the cursor it skipped
	lag      lag
	typ      typeVote
}

type sourceFlags uint8

const (
	known    sourceFlags = 1 << iota // some RSSI was known
	lost                             // lost the device to a louder proxy
	rough                            // the lag is only an upper bound
	identity                         // the newest address type was one of the identity types
)

func (s *source) has(f sourceFlags) bool { return s.flags&f != 0 }

func (s *source) set(f sourceFlags, on bool) {
	s.flags &^= f
	if on {
		s.flags |= f
	}
}

// decibel is a signal strength in dBm, in units of 1/256.
type decibel int16

func decibels(dBm float64) decibel { return decibel(math.Round(dBm * 256)) }

func (d decibel) dBm() float64 { return float64(d) / 256 }

// of reports whether s is a history of p that still counts.
func (s *source) of(p *proxy) bool { return s.proxy == p.index && s.gen == p.gen && p.up }

// gap is a time between two adverts in units of 10 µs, at most about 12 hours.
type gap uint32

const gapUnit = 10 * time.Microsecond

func gapOf(ns int64) gap { return gap(min(max(ns, 0)/int64(gapUnit), math.MaxUint32)) }

func (g gap) duration() time.Duration { return time.Duration(g) * gapUnit }

// sources are the histories of one device, found by the index of the proxy without a search. The first one is part of
// the device's record, so that with one proxy in the house it takes no further access to memory. The others are in
// small blocks that stay where they are, so that growing leaves no copies behind.
type sources struct {
	first   source
	n       uint16
	longest gap      // interval
	at      []uint16 // by the index of the proxy: the place of its history plus 1, or 0; nil while there is only the first
	more    []*[blockSize]source
}

const blockSize = 4

func (l *sources) place(i uint16) *source {
	if i == 0 {
		return &l.first
	}
	return &l.more[(i-1)/blockSize][(i-1)%blockSize]
}

// get finds the history of a proxy, nil if there is none.
func (l *sources) get(proxy uint16) *source {
	if l.first.proxy == proxy && l.n > 0 {
		return &l.first
	}
	if int(proxy) >= len(l.at) || l.at[proxy] == 0 {
		return nil
	}
	return l.place(l.at[proxy] - 1)
}

// add makes the history of a proxy that has none. proxies is how many the table knows, for the size of the index.
func (l *sources) add(p *proxy, proxies int) *source {
	if l.n > 0 && int(p.index) >= len(l.at) {
		at := make([]uint16, proxies)
		copy(at, l.at)
		l.at = at
	}
	if int(l.n) == 1+len(l.more)*blockSize {
		l.more = append(l.more, new([blockSize]source))
	}
	s := l.place(l.n)
	l.n++
	l.moved(p.index, l.n)
	*s = source{proxy: p.index, gen: p.gen}
	return s
}

// moved notes where the history of a proxy is.
func (l *sources) moved(proxy, at uint16) {
	if int(proxy) < len(l.at) { // else it is the first
		l.at[proxy] = at
	}
}

// prune drops the histories that are not to be kept. Others may change their place.
func (l *sources) prune(keep func(*source) bool) {
	for i := l.n; i > 0; i-- {
		if s := l.place(i - 1); !keep(s) {
			l.moved(s.proxy, 0)
			l.n--
			if last := l.place(l.n); last != s {
				*s = *last
				l.moved(s.proxy, i)
			}
		}
	}
	used := (int(max(l.n, 1)) - 1 + blockSize - 1) / blockSize
	clear(l.more[used:])
	l.more = l.more[:used]
	l.findLongest()
}

// learned notes that s has another interval than it had.
func (l *sources) learned(s *source, before gap) {
	if s.interval >= l.longest {
		l.longest = s.interval
	} else if before == l.longest {
		l.findLongest()
	}
}

func (l *sources) findLongest() {
	l.longest = 0
	for s := range l.all() {
		l.longest = max(l.longest, s.interval)
	}
}

// all walks the histories in no particular order.
func (l *sources) all() iter.Seq[*source] {
	return func(yield func(*source) bool) {
		for i := range l.n {
			if !yield(l.place(i)) {
				return
			}
		}
	}
}

// typeVote tells which address type a proxy mostly reports for a device: random above 0. Each report moves it by one,
// so that a wrong or spoofed one changes nothing.
type typeVote int8

// maxVote bounds a vote: maxVote+1 reports of the other type in a row turn it.
const maxVote = 8

// report notes one report.
func (s *source) report(t ble.AddressType) {
	if s.set(identity, t >= ble.PublicIdentity); t&1 == 1 {
		s.typ = min(s.typ+1, maxVote)
	} else {
		s.typ = max(s.typ-1, -maxVote)
	}
}

// addressType is the type that the proxy mostly reports; it is before while the vote is undecided.
func (s *source) addressType(before ble.AddressType) ble.AddressType {
	t := ble.Public
	switch {
	case s.typ == 0:
		return before
	case s.typ > 0:
		t = ble.Random
	}
	if s.has(identity) {
		t += ble.PublicIdentity
	}
	return t
}

// sureVote is how large a vote must be to change the type that is shown of the device.
const sureVote = maxVote / 2
