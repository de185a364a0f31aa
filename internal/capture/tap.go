package capture

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/btsnoop"
	"bluez-esphome/internal/h4"
	"bluez-esphome/internal/lockorder"
)

// maxReaders bounds the captures at a time.
const maxReaders = 4

// ErrBusy: there are as many captures as may be.
var ErrBusy = errors.New("there are four captures already; end one of them first")

// A Tap is told what happens at the proxies. Its methods are goroutine-safe and never wait for a reader.
type Tap struct {
	active atomic.Bool // somebody reads

	mu      lockorder.Mutex[lockorder.Leaf]
	proxies map[string]*proxy
	readers []*reader
}

// proxy is one proxy, which is an adapter in captures.
type proxy struct {
	index uint16
	name  string
	addr  ble.Address // of its radio
	up    bool
	links map[ble.Address]*link
	next  uint16 // connection handle
}

// New makes a Tap that nobody reads.
func New() *Tap { return &Tap{proxies: map[string]*proxy{}} }

func (t *Tap) proxyLocked(id string) *proxy {
	p := t.proxies[id]
	if p == nil {
		p = &proxy{index: uint16(len(t.proxies)), name: id, links: map[ble.Address]*link{}, next: firstHandle}
		t.proxies[id] = p
	}
	return p
}

// Online tells of a proxy whose session came up, by its ID, its name for people and its radio's address.
func (t *Tap) Online(id, name string, radio ble.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proxyLocked(id)
	p.name, p.addr, p.up = name, radio, true
	for _, r := range t.readers {
		r.appears(p)
	}
}

// Offline tells that a session ended, and its links with it.
func (t *Tap) Offline(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proxies[id]
	if p == nil || !p.up {
		return
	}
	for a, l := range p.links {
		t.eachLocked(l, func(r *reader) { r.disconnected(l, reasonTimeout) })
		delete(p.links, a)
	}
	p.up = false
	for _, r := range t.readers {
		if r.wants(p, 0) {
			r.put(p, btsnoop.DelIndex, nil)
		}
	}
}

// Adverts tells of a batch that a proxy heard. Nothing of it is kept.
func (t *Tap) Adverts(id string, at time.Time, batch []ble.RawAdvert) {
	if !t.active.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.proxies[id]
	if p == nil || !p.up {
		return
	}
	for _, r := range t.readers {
		if r.want.NoAdverts {
			continue
		}
		for i := range batch {
			if r.wants(p, batch[i].Address) {
				r.report(p, at, &batch[i])
			}
		}
	}
}

// eachLocked calls f for the readers that want a link.
func (t *Tap) eachLocked(l *link, f func(*reader)) {
	for _, r := range t.readers {
		if r.wants(l.proxy, l.addr) {
			f(r)
		}
	}
}

// read adds a reader, which is told first what there is: proxies, and links with their databases.
func (t *Tap) read(want Want) (*reader, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.readers) >= maxReaders {
		return nil, ErrBusy
	}
	for _, name := range want.Proxies {
		if !t.knowsLocked(name) {
			return nil, fmt.Errorf("there is no proxy %q", name)
		}
	}
	r := newReader(want)
	all := make([]*proxy, 0, len(t.proxies))
	for _, p := range t.proxies {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *proxy) int { return int(a.index) - int(b.index) })
	for _, p := range all {
		if !p.up {
			continue
		}
		r.appears(p)
		for _, l := range p.links {
			if l.up && r.wants(p, l.addr) {
				r.connected(l)
				r.mtu(l)
				r.discovered(l)
			}
		}
	}
	t.readers = append(t.readers, r)
	t.active.Store(true)
	return r, nil
}

func (t *Tap) knowsLocked(name string) bool {
	for _, p := range t.proxies {
		if p.name == name {
			return true
		}
	}
	return false
}

// leave takes a reader away.
func (t *Tap) leave(r *reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers = slices.DeleteFunc(t.readers, func(o *reader) bool { return o == r })
	t.active.Store(len(t.readers) > 0)
}

// appears tells a reader of a proxy.
func (r *reader) appears(p *proxy) {
	if !r.wants(p, 0) {
		return
	}
	radio, name := r.address(p.addr), r.text(p.addr, p.name)
	r.put(p, btsnoop.NewIndex, btsnoop.NewIndexData(radio, name))
	r.put(p, btsnoop.OpenIndex, nil)
	r.put(p, btsnoop.IndexInfo, btsnoop.IndexInfoData(radio))
	r.put(p, btsnoop.Note, btsnoop.NoteData(btsnoop.ProxyNote+name))
}

// report tells a reader of an advertisement.
func (r *reader) report(p *proxy, at time.Time, raw *ble.RawAdvert) {
	adv, rsp := h4.Split(r.payload(raw.Address, raw.Data))
	a := r.address(raw.Address)
	r.scratch = h4.AppendReport(r.scratch[:0], h4.ReportConnectable, a, raw.Type, raw.RSSI, adv)
	r.putAt(at, p, btsnoop.Event, r.scratch[1:])
	if len(rsp) > 0 {
		r.scratch = h4.AppendReport(r.scratch[:0], h4.ReportScanResponse, a, raw.Type, raw.RSSI, rsp)
		r.putAt(at, p, btsnoop.Event, r.scratch[1:])
	}
}
