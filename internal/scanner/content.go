package scanner

import (
	"hash/maphash"
	"iter"
	"math"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// replayWindow: for this long after newer content came, a copy of older content from a slower proxy is taken for a
	// late one, unless the device is seen to have returned to that content. Proxies batch for 100-200 ms; a congested
	// Wi-Fi delays by seconds.
	replayWindow = 5 * time.Second
	// keepPayloads is how many of the newest payloads are kept, and maxLog how many are remembered by their hash within
	// the window. A log that is full drops dropFull entries at once, so that the others are not moved for each new one.
	keepPayloads = 8
	maxLog       = 64
	dropFull     = 8
)

// news says how an advert relates to the contents that are known.
type news uint8

const (
	repeated news = iota // the newest content again
	novel                // new content
	replay               // a late copy of older content
)

// contentLog is the order of a device's contents as the table believes they were sent. Proxies have no common clock,
// but each passes on in order: a cursor per proxy says how far it has got. What a proxy says next is found in the log
// behind its cursor, and then it only catches up, or it is new, or it was sent before the newest content and comes too
// late; lag.go decides between the last two.
type contentLog struct {
	hash    uint64    // of the newest content; a copy, since most adverts need nothing else
	heard   int64     // when the newest content was heard last
	sent    int64     // when the newest content was sent, as the fastest proxy would have passed it on
	began   int64     // when entries[0] came
	base    uint32    // number of entries[0]; the first ever is 1
	stray   bool      // the newest content is known to be older than the one before it
	guessed bool      // content of a proxy of unknown lag was taken for newer than the newest
	entries []content // oldest first; the last one is the newest content
	kept    []payload // of the newest entries, in the same order
}

// content has no pointers: the log of a device that changes all the time is moved around.
type content struct {
	hash       uint64
	superseded int64  // when the next one came, 0 while newest
	idle       gap    // from when it was heard last as the newest until it was superseded
	by         uint16 // the proxy that said it first, by its index
	lag        lag    // from its sending to its arrival; unknown if its proxy's lag was
}

// sentAt is when entries[i] was sent, as far as the lag of its proxy was known.
func (l *contentLog) sentAt(i int) int64 {
	came := l.began
	if i > 0 {
		came = l.entries[i-1].superseded
	}
	return came - int64(l.entries[i].lag.duration())
}

// payload is one content. It is parsed when somebody asks for it: most are superseded before.
type payload struct {
	raw []byte             // a buffer of the log, of no more use once adv is set
	adv *ble.Advertisement // nil: not parsed yet
}

func (p *payload) parsed() *ble.Advertisement {
	if p.adv == nil {
		p.adv, p.raw = ble.ParseAdvertisement(p.raw), nil
	}
	return p.adv
}

// head is the number of the newest content, 0 if there is none.
func (l *contentLog) head() uint32 {
	if len(l.entries) == 0 {
		return 0
	}
	return l.base + uint32(len(l.entries)) - 1
}

// newest is nil for a device without content only.
func (l *contentLog) newest() *ble.Advertisement {
	if len(l.kept) == 0 {
		return nil
	}
	return l.kept[len(l.kept)-1].parsed()
}

// recent walks the newest payload, and then, from new to old, those that were the newest at some time no longer ago
// than within.
func (l *contentLog) recent(now int64, within time.Duration) iter.Seq[*ble.Advertisement] {
	return func(yield func(*ble.Advertisement) bool) {
		for i := len(l.kept) - 1; i >= 0; i-- {
			e := &l.entries[len(l.entries)-len(l.kept)+i]
			if (e.superseded == 0 || now-e.superseded+int64(e.idle.duration()) <= int64(within)) && !yield(l.kept[i].parsed()) {
				return
			}
		}
	}
}

// find looks for content with that hash that was the newest at some time within the replay window, and gives its
// number. It begins with number from.
func (l *contentLog) find(hash uint64, from uint32, now int64) uint32 {
	i := 0
	if from > l.base {
		i = int(from - l.base)
	}
	for ; i < len(l.entries); i++ {
		e := &l.entries[i]
		if e.hash == hash && (e.superseded == 0 || now-e.superseded <= int64(replayWindow)) {
			return l.base + uint32(i)
		}
	}
	return 0
}

// append makes data the newest content, which s heard.
func (l *contentLog) append(hash uint64, data []byte, now int64, s *source) {
	p := payload{adv: l.known(hash)}
	if n := len(l.entries); n > 0 {
		e := &l.entries[n-1]
		e.superseded, e.idle = now, gapOf(now-l.heard)
		l.trim(now)
		if drop := len(l.kept) - min(keepPayloads-1, len(l.entries)); drop > 0 {
			p.raw = l.kept[0].raw[:0]
			rest := copy(l.kept, l.kept[drop:])
			clear(l.kept[rest:])
			l.kept = l.kept[:rest]
		}
	} else {
		l.base, l.began = 1, now
	}
	if p.adv == nil {
		p.raw = append(p.raw, data...)
	}
	l.kept = append(l.kept, p)
	behind, known := s.behind()
	l.sent = max(l.sent, now-int64(behind))
	next := content{hash: hash, by: s.proxy}
	if known || s.skipped == 0 {
		next.lag = lagOf(now - l.sent)
	}
	l.entries = append(l.entries, next)
	l.hash, l.heard, l.stray = hash, now, false
}

// trim makes room for one more entry. It keeps those that a slower proxy may still repeat.
func (l *contentLog) trim(now int64) {
	drop, n := 0, len(l.entries)
	if n >= maxLog {
		drop = dropFull
	}
	for drop < n && now-l.entries[drop].superseded > int64(replayWindow) {
		drop++
	}
	if drop > 0 {
		l.began = l.entries[drop-1].superseded
		l.entries = l.entries[:copy(l.entries, l.entries[drop:])]
		l.base += uint32(drop)
	}
}

// known finds content with that hash that was parsed.
func (l *contentLog) known(hash uint64) *ble.Advertisement {
	first := len(l.entries) - len(l.kept)
	for i := range l.kept {
		if l.kept[i].adv != nil && l.entries[first+i].hash == hash {
			return l.kept[i].adv
		}
	}
	return nil
}

// renumber makes the oldest content number 1 again.
func (d *device) renumber() {
	base := d.content.base
	number := func(n uint32) uint32 {
		if n < base {
			return 0
		}
		return n - base + 1
	}
	for s := range d.sources.all() {
		s.cursor = number(s.cursor)
	}
	d.sent, d.content.base = number(d.sent), 1
}

// content files what a proxy said of d. Contents are told apart by a keyed 64-bit hash.
func (t *Table) content(d *device, s *source, data []byte, now int64) news {
	hash := maphash.Bytes(t.seed, data)
	l := &d.content
	if s.cursor != 0 && s.cursor == l.head() && hash == l.hash {
		l.heard = now
		t.stats.Repeats++
		return repeated
	}
	if seq := l.find(hash, s.confirmed(), now); seq != 0 {
		if n := t.heardAgain(d, s, seq, now); n != novel {
			return n
		}
	} else if !t.isNewer(d, s, now) {
		t.stats.Replays++
		return replay
	}
	if l.head() == math.MaxUint32 {
		d.renumber()
	}
	s.passOver(l)
	l.append(hash, data, now, s)
	s.cursor = l.head()
	d.learn(data)
	t.stats.Novel++
	return novel
}

// heardAgain files an advert whose content is in the log under that number. It is novel if the device returned to that
// content.
func (t *Table) heardAgain(d *device, s *source, seq uint32, now int64) news {
	l := &d.content
	moved := seq != s.cursor
	if seq < s.cursor && s.cursor == l.head() {
		l.stray = true // s said what is newest now before what it says next, which is older
	}
	catchesUp := moved && d.observe(s, seq, now)
	s.cursor, s.skipped = seq, 0
	if l.entries[seq-l.base].hash == l.hash {
		// It is the newest, or an older one with the same bytes. The cursor stays where it is, since the contents between the
		// two may still follow.
		l.heard = now
		t.stats.Repeats++
		return repeated
	}
	if l.stray && seq == l.head()-1 || !catchesUp && d.returned(s, now) {
		return novel
	}
	t.stats.Replays++
	return replay
}
