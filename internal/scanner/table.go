package scanner

import (
	"hash/maphash"
	"log/slog"
	"math"
	"time"

	"bluez-esphome/internal/ble"

	"bluez-esphome/internal/lockorder"
)

const (
	defaultMaxDevices = 16384
	// maxPayload is the most that extended advertising can carry (Bluetooth Core,
	// Vol 4 Part E, 7.8.54); proxies send 62 bytes, hostile ones anything.
	maxPayload = 1650
	// expireAfter is how long a device that nobody hears stays, longer if its
	// own interval says so (habluetooth 7.1.2 keeps 195 s too).
	expireAfter = 195 * time.Second
	sweepEvery  = 10 * time.Second
)

// Config makes a [Table].
type Config struct {
	MaxDevices int          // 0: 16384
	Logger     *slog.Logger // nil: nothing is logged
}

// Table is one adapter's view of the air. Its methods are goroutine-safe and
// do not block. Adverts of one proxy must be passed in the order in which they came.
type Table struct {
	log   *slog.Logger
	max   int
	epoch time.Time // all times inside are nanoseconds since then
	seed  maphash.Seed
	wake  chan struct{} // capacity 1: a level, not a count

	mu      lockorder.Mutex[lockorder.Air]
	closed  bool
	devices map[ble.Address]*device
	lru     device // list head; lru.next was heard last, lru.prev is the next to go
	kept    map[ble.Address]struct{}
	proxies map[string]*proxy
	numbering
	asked []int  // by the index of a proxy: the number that the caller of a look has for it; used again by the next one
	downs uint32 // grows when a proxy's histories cease to count
	waiting
	want wants
	silence
	stats    Stats
	swept    int64
	lastFull int64 // when the operator was last told that the table is full
}

// silence is the timer of monitors that wait for a device to become silent.
type silence struct {
	timer   *time.Timer // nil while there are none
	timerAt int64       // when it fires
}

// waiting is what waits for Take.
type waiting struct {
	queue      []*device     // devices with something to report, oldest change first
	goneQueued int           // how many entries of queue are of devices that are gone, roughly
	evicted    []ble.Address // devices that were reported and then evicted
}

// proxy is one source of adverts. Histories whose gen is lower than the proxy's do not count.
type proxy struct {
	name    string
	index   uint16
	up      bool
	paused  bool
	held    uint32 // number of the present hold, see Table.HoldProxy; 0: none
	gen     uint16
	heard   int64 // when its newest advert came, 0 never
	resumed int64 // when it last scanned again after a pause
	adverts uint64
	left    int64 // when its session ended, while it is not up
	owns    ownList
	holds   uint32 // how often it was held
	fresh   budget // what it may still add
}

// New makes an empty table.
func New(cfg Config) *Table {
	t := &Table{
		log: cfg.Logger, max: cfg.MaxDevices,
		// The epoch is in the past, so that no time is 0, which means "never".
		epoch: time.Now().Add(-time.Hour), seed: maphash.MakeSeed(), wake: make(chan struct{}, 1),
		devices: map[ble.Address]*device{}, kept: map[ble.Address]struct{}{}, proxies: map[string]*proxy{},
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.max <= 0 {
		t.max = defaultMaxDevices
	}
	t.lru.prev, t.lru.next = &t.lru, &t.lru
	return t
}

// Close stops the table's timer. Reports stop; nothing else changes.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

func (t *Table) since(at time.Time) int64  { return max(1, int64(at.Sub(t.epoch))) }
func (t *Table) now() int64                { return t.since(time.Now()) }
func (t *Table) timeOf(ns int64) time.Time { return t.epoch.Add(time.Duration(ns)) }

const (
	// maxProxies is how many names of proxies a table can know.
	maxProxies = math.MaxUint16
	// forgetProxy is how long a name is known after its last session: counters survive a restart of the device.
	forgetProxy = time.Hour
)

// ProxyUp says that adverts of a proxy are about to come.
func (t *Table) ProxyUp(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proxies[name]
	if p == nil {
		p = t.addProxy(name)
		if p == nil {
			t.log.Warn("Too many proxies: what this one hears is not used until others were away for an hour", "proxy", name, "limit", maxProxies)
			return
		}
	}
	p.up, p.paused = true, false
	p.resumed = t.now()
}

// addProxy makes a record with an index that nobody has, nil if there are too many.
func (t *Table) addProxy(name string) *proxy {
	p := &proxy{name: name}
	if !t.number(p) {
		return nil
	}
	t.proxies[name] = p
	return p
}

// numbering is the indexes of proxies, by which the histories of devices know them.
type numbering struct {
	numbered []*proxy // by their index
	vacant   []uint16 // indexes of proxies that were forgotten
}

// number gives p an index that nobody has; it reports false if there are too many.
func (n *numbering) number(p *proxy) bool {
	last := len(n.vacant) - 1
	switch {
	case last >= 0:
		p.index = n.vacant[last]
		n.vacant = n.vacant[:last]
		p.gen = n.numbered[p.index].gen // higher than in any history of the proxy that had the index before
		n.numbered[p.index] = p
	case len(n.numbered) >= maxProxies:
		return false
	default:
		p.index = uint16(len(n.numbered))
		n.numbered = append(n.numbered, p)
	}
	return true
}

// release gives up the index of p, which is forgotten.
func (n *numbering) release(p *proxy) { n.vacant = append(n.vacant, p.index) }

// forgetProxies drops the names of proxies that have been away for long.
func (t *Table) forgetProxies(now int64) {
	for name, p := range t.proxies {
		if p.up || p.left == 0 || now-p.left < int64(forgetProxy) {
			continue
		}
		for p.owns.first != nil {
			p.owns.first.belongTo(nil)
		}
		delete(t.proxies, name)
		t.release(p)
	}
}

// ProxyDown says that a proxy's session ended. What it heard no longer
// counts for ownership and paths; devices it owned get another owner with the next
// advert of any other proxy.
func (t *Table) ProxyDown(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.proxies[name]; p != nil && p.up {
		p.up, p.paused, p.heard, p.left = false, false, 0, t.now()
		t.downs++
		p.gen++
		if p.gen == 0 { // gen wrapped around: histories of the first session must not count again
			for _, d := range t.devices {
				d.sources.prune(func(s *source) bool { return s.proxy != p.index })
			}
		}
	}
}

// PauseProxy says that a proxy does not scan because it is connecting: until ResumeProxy
// any other proxy that hears its devices takes them over.
func (t *Table) PauseProxy(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.proxies[name]; p != nil {
		p.paused = true
	}
}

// ResumeProxy ends a pause.
func (t *Table) ResumeProxy(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.proxies[name]; p != nil && p.paused {
		p.paused, p.resumed = false, t.now()
	}
}

// Adverts takes one batch of a proxy that is up, in the order in which it came; adverts of
// another proxy are counted and dropped. The data is not kept.
func (t *Table) Adverts(proxyName string, at time.Time, batch []ble.RawAdvert) {
	t.adverts(proxyName, at, batch, nil)
}

// adverts is Adverts, which appends to *merged, unless that is nil, what the batch adds to the merged air.
func (t *Table) adverts(proxyName string, at time.Time, batch []ble.RawAdvert, merged *[]ble.RawAdvert) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proxies[proxyName]
	if p == nil || !p.up {
		t.stats.Late += uint64(len(batch))
		return
	}
	now := t.since(at)
	p.heard = max(p.heard, now)
	p.adverts += uint64(len(batch))
	// All records are looked up before the first is used, so that the processor waits for the memory of several at once.
	var found [16]*device
	for ; len(batch) > 0; batch = batch[min(len(batch), len(found)):] {
		some := batch[:min(len(batch), len(found))]
		for i := range some {
			found[i] = t.devices[some[i].Address]
			if found[i] != nil && len(some[i].Data) <= maxPayload {
				t.touch(found[i], now)
			}
		}
		for i := range some {
			t.advert(p, found[i], now, &some[i], merged)
		}
	}
	overdue := now - t.swept - int64(sweepEvery)
	switch {
	case overdue < 0:
	case overdue >= int64(sweepEvery):
		// No adverts came for long, perhaps since the process was stopped: let the other proxies be heard first.
		t.swept = now
	default:
		t.sweep(now)
	}
}

// advert is the hot path. For bytes that this proxy said last time it updates time and RSSI and looks at what is
// wanted; it neither parses nor allocates. d is the record as it was before the batch.
func (t *Table) advert(p *proxy, d *device, now int64, raw *ble.RawAdvert, merged *[]ble.RawAdvert) {
	t.stats.Adverts++
	if len(raw.Data) > maxPayload {
		t.stats.Oversized++
		return
	}
	if d == nil || d.gone { // an earlier advert of the batch may have added or evicted it
		d = t.devices[raw.Address]
		if d == nil {
			if !p.fresh.take(now) {
				t.stats.Crowded++
				return
			}
			d = t.add(raw.Address, now)
			d.typ = raw.Type
		}
		t.touch(d, now)
	}
	s := t.sourceOf(d, p)
	s.report(raw.Type)
	audible := d.hear(p, s, now, raw.RSSI)
	t.elect(d, p, s, now, audible)
	if d.typ != raw.Type && d.owner == p && (s.typ >= sureVote || s.typ <= -sureVote) {
		d.typ = s.addressType(d.typ)
	}
	news := t.content(d, s, raw.Data, now)
	if t.want.anybody {
		t.consider(d, p, news, raw.Data, now)
	}
	if merged != nil {
		*merged = d.relay(*merged, p, news, raw, now)
	}
}

// signal sets the level of Changed.
func (t *Table) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
