package scanner

import (
	"hash/maphash"
	"iter"
	"math"
	"time"

	"bluez-esphome/internal/ble"
)

const (
	// replayWindow is for how long after newer content came a slower proxy's copy of older
	// content is taken for a late one. Proxies batch for 100-200 ms; a congested Wi-Fi
	// holds back seconds.
	replayWindow = 5 * time.Second
	// keepPayloads is how many of the newest payloads are kept; maxLog how many are
	// remembered by hash within the window. A full log loses dropFull at once, so that it is not moved for each.
	keepPayloads = 8
	maxLog       = 64
	dropFull     = 8
)

// news is what an advert tells.
type news uint8

const (
	repeated news = iota // the newest content again
	novel                // new content
	replay               // an older one's late copy
)

// contentLog is the order of a device's contents as the table believes they
// were sent. Proxies have no common clock, but each passes on in order: a
// cursor per proxy says how far it has got. What a proxy says next is either
// found in the log behind its cursor, and then it only catches up, or it is new.
type contentLog struct {
	hash    uint64    // of the newest content, here too: mostly it is all that is looked at
	heard   int64     // the newest content
	base    uint32    // number of entries[0]; the first ever is 1
	entries []content // oldest first; the last one is the newest content
	kept    []payload // of the newest entries, in the same order
}

// content has no pointers: the log of a device that changes all the time is moved around.
type content struct {
	hash       uint64
	heard      int64 // last time while newest; set when the next one comes
	superseded int64 // when the next one came, 0 while newest
}

// payload is parsed when somebody asks for it; most are superseded before.
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

// recent walks the payloads that were the newest until at most within ago, and the newest in any case,
// starting with that.
func (l *contentLog) recent(now int64, within time.Duration) iter.Seq[*ble.Advertisement] {
	return func(yield func(*ble.Advertisement) bool) {
		for i := len(l.kept) - 1; i >= 0; i-- {
			e := &l.entries[len(l.entries)-len(l.kept)+i]
			if (e.superseded == 0 || now-e.heard <= int64(within)) && !yield(l.kept[i].parsed()) {
				return
			}
		}
	}
}

// find gives the number of the first content with that hash, from
// number from on, that was the newest within the replay window.
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

// append makes data the newest content.
func (l *contentLog) append(hash uint64, data []byte, now int64) {
	next := payload{adv: l.known(hash)}
	if n := len(l.entries); n > 0 {
		l.entries[n-1].heard, l.entries[n-1].superseded = l.heard, now
		l.trim(now)
		if drop := len(l.kept) - min(keepPayloads-1, len(l.entries)); drop > 0 {
			next.raw = l.kept[0].raw[:0]
			rest := copy(l.kept, l.kept[drop:])
			clear(l.kept[rest:])
			l.kept = l.kept[:rest]
		}
	} else {
		l.base = 1
	}
	if next.adv == nil {
		next.raw = append(next.raw, data...)
	}
	l.kept = append(l.kept, next)
	l.entries = append(l.entries, content{hash: hash})
	l.hash, l.heard = hash, now
}

// trim makes room for one more: only what a slower proxy may still repeat stays.
func (l *contentLog) trim(now int64) {
	drop, n := 0, len(l.entries)
	if n >= maxLog {
		drop = dropFull
	}
	for drop < n && now-l.entries[drop].superseded > int64(replayWindow) {
		drop++
	}
	if drop > 0 {
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
	if seq := l.find(hash, s.cursor, now); seq != 0 {
		s.cursor = seq
		if l.entries[seq-l.base].hash == l.hash {
			// Either the newest, or an older one that happens to say the same. The
			// cursor stays where it is: what came between may yet follow.
			l.heard = now
			t.stats.Repeats++
			return repeated
		}
		t.stats.Replays++
		return replay
	}
	if l.head() == math.MaxUint32 {
		d.renumber()
	}
	l.append(hash, data, now)
	s.cursor = l.head()
	d.learn(data)
	t.stats.Novel++
	return novel
}
