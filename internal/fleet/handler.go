package fleet

import (
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/gatt"
	"bluez-esphome/internal/scanmode"
	"bluez-esphome/internal/scanner"
)

// handler takes what one session says, in its reader goroutine, and hands it on.
type handler struct{ p *Proxy }

var _ apiconn.Handler = handler{}

// Online follows admit, which gave the proxy its ID and its name.
func (h handler) Online(_ *apiconn.Proxy, info apiconn.Info) {
	p, s := h.p, h.p.set
	if info.Features == 0 {
		s.cfg.Logger.Warn("The device is no Bluetooth proxy: add bluetooth_proxy: to its ESPHome configuration", "proxy", p.Name(), "address", HostPort(p.cfg))
	}
	p.mu.Lock()
	p.info, p.up, p.known, p.own, p.since = info, true, false, nil, time.Now()
	id, outdated := p.id, p.outdated()
	p.mu.Unlock()
	if outdated {
		s.cfg.Hooks.Offline(p)
	}
	s.cfg.Merged.ProxyUp(id)
	s.settle(p)
	s.cfg.Tap.Online(id, p.Label(), p.radio())
	s.cfg.Links.AddProxy(s.cfg.Tap.Proxy(p), p.hosts())
	s.cfg.Links.ProxyOnline(id)
	s.cfg.Hooks.Online(p)
	p.ModeChanged()
	s.cfg.Board.Changed(p, "Name", "State", "LastError", "ESPHomeVersion", "Features", "BluetoothAddress", "ScanMode", "SlotLimit", "SlotFree", "Allocated", "Note")
}

func (h handler) Offline(_ *apiconn.Proxy, err error) {
	p, s := h.p, h.p.set
	p.mu.Lock()
	p.up, p.let = false, false
	id, own := p.id, p.own
	if p.seat != nil {
		p.seat.Stop()
		p.seat = nil
	}
	p.mu.Unlock()
	s.cfg.Hooks.Offline(p)
	p.each(func(t *scanner.Table) { t.ProxyDown(id) })
	if own != nil {
		s.cfg.Hooks.AdapterOnline(own, false)
	}
	s.cfg.Tap.Offline(id)
	s.cfg.Links.ProxyOffline(id, err)
	s.cfg.Board.Changed(p, "State", "LastError", "SlotLimit", "SlotFree", "Allocated")
	s.reconsider(p)
}

func (h handler) Adverts(_ *apiconn.Proxy, at time.Time, adverts []ble.RawAdvert) {
	p := h.p
	p.mu.Lock()
	p.heard = at
	id, sh, own := p.id, p.shared, p.own
	p.mu.Unlock()
	p.set.cfg.Tap.Adverts(id, at, adverts)
	p.set.cfg.Hooks.Adverts(id, sh, at, adverts)
	if own != nil {
		own.Table.Adverts(id, at, adverts)
	}
	if links := p.set.cfg.Links; links.Waits() {
		for i := range adverts {
			links.Heard(adverts[i].Address)
		}
	}
}

func (h handler) ScannerState(_ *apiconn.Proxy, state ble.ScannerState, mode, configured ble.ScannerMode) {
	p, running := h.p, state == ble.ScannerRunning
	changed := p.scannerChanged(Scan{state, mode, configured})
	id := p.ID()
	p.each(func(t *scanner.Table) {
		if running {
			t.ResumeProxy(id)
		} else {
			t.PauseProxy(id) // it connects, or changes its mode
		}
		if running && mode == ble.ScanActive {
			scanmode.Changed(t, id)
		}
	})
	if changed {
		p.set.cfg.Board.Changed(p, "ScanMode")
	}
}

func (h handler) Slots(_ *apiconn.Proxy, slots ble.Slots) {
	links, id := h.p.set.cfg.Links, h.p.ID()
	links.SetHosts(id, h.p.hosts())
	links.SlotsReport(id, slots)
	h.p.slotsChanged()
	h.p.set.cfg.Board.Changed(h.p, "SlotLimit", "SlotFree", "Allocated")
}

// hosts says who else uses the proxy. Where nobody does, slots that are not ours are leftovers to be released.
func (p *Proxy) hosts() gatt.Hosts {
	switch {
	case len(p.Via()) > 0:
		return gatt.HostsShared
	case p.State() == apiconn.StateDisplaced:
		return gatt.HostsApart
	}
	return gatt.HostsNone
}

func (h handler) LinkUp(_ *apiconn.Proxy, a ble.Address, mtu int) {
	h.p.set.cfg.Tap.LinkReport(h.p.ID(), a, true, mtu, 0)
	h.p.set.cfg.Links.LinkReport(h.p.ID(), a, true, mtu, 0)
}

func (h handler) LinkDown(_ *apiconn.Proxy, a ble.Address, code int32) {
	h.p.set.cfg.Tap.LinkReport(h.p.ID(), a, false, 0, code)
	h.p.set.cfg.Links.LinkReport(h.p.ID(), a, false, 0, code)
}

func (h handler) Notification(_ *apiconn.Proxy, a ble.Address, handle uint16, value []byte) {
	h.p.set.cfg.Tap.Notification(h.p.ID(), a, handle, value)
	h.p.set.cfg.Links.Notification(h.p.ID(), a, handle, value)
}

func (h handler) PairingChanged(_ *apiconn.Proxy, a ble.Address, paired bool, _ int32) {
	h.p.set.cfg.Links.PairingReport(h.p.ID(), a, paired)
}
