package daemon

import (
	"net"
	"strconv"
	"time"

	"bluez-esphome/internal/apiconn"
	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/config"
	"bluez-esphome/internal/scanner"
)

func hostPort(p config.Proxy) string {
	return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
}

// handler takes what one session says, in its reader goroutine, and hands it on.
type handler struct{ p *proxy }

var _ apiconn.Handler = handler{}

// batchDelay is how long the firmware may keep adverts before it sends them: what it heard
// before a change of mode may come so much after it (100 ms, on Wi-Fi 200 ms).
const batchDelay = 250 * time.Millisecond

func (h handler) Online(_ *apiconn.Proxy, info apiconn.Info) {
	p := h.p
	if p.auto != "" && info.Features == 0 {
		p.set.finder.reject(p)
		return
	}
	p.set.adopt(p, info.Name)
	if info.Features == 0 {
		p.set.d.log.Warn("The device is no Bluetooth proxy: add bluetooth_proxy: to its ESPHome configuration", "proxy", p.Name(), "address", hostPort(p.cfg))
	}
	p.mu.Lock()
	p.info, p.up, p.known, p.own = info, true, false, nil
	name := p.name
	p.mu.Unlock()
	d := p.set.d
	own := d.adapters.attach(p, info)
	p.each(func(t *scanner.Table) { t.ProxyUp(name) })
	if own != nil {
		d.shim.SetOnline(own.index, true)
	}
	d.links.AddProxy(p)
	d.links.ProxyOnline(name)
	d.sharing.up(p)
	p.modeChanged()
	p.obj.changed("Name", "State", "LastError", "ESPHomeVersion", "Features", "BluetoothAddress", "ScanMode", "SlotLimit", "SlotFree", "Allocated", "Note")
}

func (h handler) Offline(_ *apiconn.Proxy, err error) {
	d, name := h.p.set.d, h.p.Name()
	if name == "" {
		return // a device that is no proxy
	}
	h.p.mu.Lock()
	h.p.up = false
	h.p.mu.Unlock()
	d.sharing.down(h.p)
	h.p.each(func(t *scanner.Table) { t.ProxyDown(name) })
	if own := h.p.ownAdapter(); own != nil {
		d.shim.SetOnline(own.index, false)
	}
	d.links.ProxyOffline(name, err)
	h.p.obj.changed("State", "LastError", "SlotLimit", "SlotFree", "Allocated")
}

func (h handler) Adverts(_ *apiconn.Proxy, at time.Time, adverts []ble.RawAdvert) {
	h.p.mu.Lock()
	h.p.heard = at
	name, sh, own := h.p.name, h.p.shared, h.p.own
	h.p.mu.Unlock()
	h.p.set.d.sharing.adverts(name, sh, at, adverts)
	if own != nil {
		own.table.Adverts(name, at, adverts)
	}
	if links := h.p.set.d.links; links.Waits() {
		for i := range adverts {
			links.Heard(adverts[i].Address)
		}
	}
}

func (h handler) ScannerState(_ *apiconn.Proxy, state ble.ScannerState, mode, configured ble.ScannerMode) {
	p, running := h.p, state == ble.ScannerRunning
	changed := p.scannerChanged(scan{state, mode, configured})
	name := p.Name()
	p.each(func(t *scanner.Table) {
		if running {
			t.ResumeProxy(name)
		} else {
			t.PauseProxy(name) // it connects, or changes its mode
		}
		if hold := t.Held(name); hold != 0 && running && mode == ble.ScanActive {
			time.AfterFunc(batchDelay, func() { t.ReleaseProxy(name, hold) })
		}
	})
	if changed {
		p.obj.changed("ScanMode")
	}
}

func (h handler) Slots(p *apiconn.Proxy, slots ble.Slots) {
	links, name := h.p.set.d.links, h.p.Name()
	// Slots that are not ours are leftovers to be released, unless another host is at work.
	links.SetOwnSlots(name, p.State() != apiconn.StateDisplaced)
	links.SlotsReport(name, slots)
	h.p.slotsChanged()
	h.p.obj.changed("SlotLimit", "SlotFree", "Allocated")
}

func (h handler) LinkUp(_ *apiconn.Proxy, a ble.Address, mtu int) {
	h.p.set.d.links.LinkReport(h.p.Name(), a, true, mtu, 0)
}

func (h handler) LinkDown(_ *apiconn.Proxy, a ble.Address, code int32) {
	h.p.set.d.links.LinkReport(h.p.Name(), a, false, 0, code)
}

func (h handler) Notification(_ *apiconn.Proxy, a ble.Address, handle uint16, value []byte) {
	h.p.set.d.links.Notification(h.p.Name(), a, handle, value)
}

func (h handler) PairingChanged(_ *apiconn.Proxy, a ble.Address, paired bool, _ int32) {
	h.p.set.d.links.PairingReport(h.p.Name(), a, paired)
}
